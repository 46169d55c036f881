"""Annotation files -> records: the release, `records.jsonl`, and the guards that readers of strangers' JSON share."""
