"""From the network's raw numbers to evidence: what was fitted on clips of sources that it was not trained on.

Evidence is a log likelihood ratio, fake over not fake. ``embedded.json`` stands beside the weights and holds every
number; nothing here is fitted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deeptrace import files
from deeptrace.errors import DeepTraceError, ModelError
from deeptrace.models.embedded.windows import LOOK, Said


@dataclass(frozen=True)
class EmbeddedCalibration:
    """Numbers of ``embedded.json``. ``uncertain`` and ``threshold`` are values of p_fake at a prior of 0.5."""

    revision: str
    trace_scale: float
    trace_bias: float
    trace_threshold: float  # evidence of a window from which on its trace is reported
    generated_mean: npt.NDArray[np.float64]
    generated_weights: npt.NDArray[np.float64]
    generated_bias: float
    threshold: float
    uncertain: tuple[float, float]

    def trace_evidence(self, window: Said) -> float:
        """Log likelihood ratio of a trace in this window."""
        return self.trace_scale * window.clip + self.trace_bias

    def generated_evidence(self, windows: Sequence[Said]) -> float:
        """Log likelihood ratio of a generated clip, from the mean over its windows of what the head sees."""
        look = np.mean([window.look for window in windows], axis=0, dtype=np.float64)
        return float((look - self.generated_mean) @ self.generated_weights + self.generated_bias)


def read_calibration(folder: Path) -> EmbeddedCalibration:
    """The calibration beside the weights.

    Raises:
        ModelError: a file is missing, a number is, or the weights are not those it was fitted for.
    """
    try:
        found: Any = files.loads(files.read_bytes(folder / "embedded.json"))
        weights = files.read_bytes(folder / "embedded.onnx")
        made = EmbeddedCalibration(
            revision=str(found["revision"]),
            trace_scale=float(found["trace"]["scale"]),
            trace_bias=float(found["trace"]["bias"]),
            trace_threshold=float(found["trace"]["threshold"]),
            generated_mean=np.array(found["generated"]["mean"], np.float64),
            generated_weights=np.array(found["generated"]["weights"], np.float64),
            generated_bias=float(found["generated"]["bias"]),
            threshold=float(found["threshold"]),
            uncertain=(float(found["uncertain"][0]), float(found["uncertain"][1])),
        )
        sha256 = found["sha256"]
    except DeepTraceError as error:
        raise ModelError(f"the embedded model in {folder.name!r} cannot be read: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ModelError(f"{folder.name}/embedded.json lacks a number, or has a bad one: {error!r}") from None
    if not len(made.generated_mean) == len(made.generated_weights) == LOOK:
        raise ModelError(f"{folder.name}/embedded.json: generated needs {LOOK} means and weights")
    if hashlib.sha256(weights).hexdigest() != sha256:
        raise ModelError(f"{folder.name}/embedded.onnx is not the file that embedded.json was fitted for")
    return made
