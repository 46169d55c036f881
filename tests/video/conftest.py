"""Tests marked ``linux`` skip elsewhere, all in one place."""

from __future__ import annotations

import sys

import pytest

PLATFORM: str = sys.platform


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what only Linux offers."""
    if item.get_closest_marker("linux") is not None and PLATFORM != "linux":
        pytest.skip("uses what only Linux offers")
