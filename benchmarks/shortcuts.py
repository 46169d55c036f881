"""How far fake and real can be told apart without looking for a trace, before and after normalising.

    python benchmarks/shortcuts.py FOLDER --out normalised

FOLDER holds clips and a ``manifest.jsonl`` with a row for each: ``path``, ``class`` (fake or real), ``generator``,
``source_repo``. Clips of one source never stand on both sides of a fold; then once more with only near-duplicates kept
together, which is what a random split of a dataset amounts to. Clips are normalised to 256 x 144 at 8 fps, one length.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from deeptrace import files
from deeptrace.data import Records, load_records
from deeptrace.data.audit import audit
from deeptrace.data.audit.page import score_words
from deeptrace.data.normalise import normalise
from deeptrace.records import Record


def read_manifest(folder: Path) -> Records:
    rows = [row for _, row in files.read_jsonl(folder / "manifest.jsonl")]
    records = [
        Record(
            video_id=row["path"],
            path=row["path"],
            label=row["class"],
            source=row.get("generator") or "camera",
            extra={"source_repo": row["source_repo"]},
        )
        for row in rows
    ]
    return Records(records, root=folder)


def show(records: Records, *, group_by: str | None, jobs: int) -> None:
    result = audit(records, deep=True, group_by=group_by, jobs=jobs)
    assert result.shortcuts is not None
    for probe in result.shortcuts.results:
        words = probe.reason or f"AUROC {score_words(probe.auroc):<22} balanced {score_words(probe.balanced_accuracy)}"
        if probe.accuracy is not None:
            words += f" accuracy {score_words(probe.accuracy)}, majority {100 * probe.accuracy.chance:.1f}"
        print(f"  {probe.probe:<23}{probe.task:<14}{probe.n:>4} clips {probe.groups:>4} groups  {words}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="where the normalised clips go")
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    raw = read_manifest(args.folder)
    made = normalise(raw, args.folder, args.out, aspect=(16, 9), short_side=144, fps=8.0, match_duration=True)
    print(json.dumps(made.to_json()))
    for name, records in (("before", raw), ("after", load_records(args.out))):
        for group_by in ("source_repo", None):
            print(f"{name}, grouped by {group_by or 'near-duplicates only'}")
            show(records, group_by=group_by, jobs=args.jobs)


if __name__ == "__main__":
    main()
