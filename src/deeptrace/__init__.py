"""deeptrace: find what looks fake in a video, where, when, which kind, and why."""

from __future__ import annotations

from deeptrace.errors import DeepTraceError

__version__ = "0.1.0"

__all__ = ["DeepTraceError", "__version__"]
