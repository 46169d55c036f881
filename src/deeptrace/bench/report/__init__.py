"""The report of a run or of a comparison: scores and answers go in, one HTML page and one Markdown file come out.

Everything that is shown was computed elsewhere (`deeptrace.bench.score.score`, the audit's probes); this room arranges
it, and draws charts and pictures. The page loads nothing from a network and can be moved with its folder.
"""

from __future__ import annotations

from deeptrace.bench.report.material import ReportMaterial, gather
from deeptrace.bench.report.page import write_report

__all__ = ["ReportMaterial", "gather", "write_report"]
