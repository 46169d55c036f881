"""Records: what is known of videos. Reads annotations of any origin, checks them, counts them, splits them.

In: files of annotations. Out: `Record` objects with everything that was wrong listed beside them. Knows no models.
"""

from __future__ import annotations

from deeptrace.data.jsonl import iter_records, write_records
from deeptrace.data.load import Records, load_records
from deeptrace.data.paths import check_path, resolve
from deeptrace.data.problems import Problem, count_problems

__all__ = [
    "Problem",
    "Records",
    "check_path",
    "count_problems",
    "iter_records",
    "load_records",
    "resolve",
    "write_records",
]
