"""Records: what is known of videos. Reads annotations of any origin, checks them, counts them, splits them.

In: files of annotations. Out: `Record` objects with everything that was wrong listed beside them. Knows no models.
"""

from __future__ import annotations

from deeptrace.data.paths import check_path, resolve
from deeptrace.data.plots import write_plots
from deeptrace.data.read.jsonl import iter_records, write_records
from deeptrace.data.read.load import Records, load_records
from deeptrace.data.read.problems import Problem, count_problems
from deeptrace.data.split import Assignment, Bridge, Fold, leave_one_source_out, split
from deeptrace.data.stats import Stats, describe

__all__ = [
    "Assignment",
    "Bridge",
    "Fold",
    "Problem",
    "Records",
    "Stats",
    "check_path",
    "count_problems",
    "describe",
    "iter_records",
    "leave_one_source_out",
    "load_records",
    "resolve",
    "split",
    "write_plots",
    "write_records",
]
