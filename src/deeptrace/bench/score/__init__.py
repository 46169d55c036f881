"""Answers -> numbers: totals, intervals, tests, tables, beside what the paper published."""
