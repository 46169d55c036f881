"""A clip through the network: overlapping windows of frames in, what the network said of each out.

Only the ONNX file is needed, and onnxruntime. Knows nothing of verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from deeptrace.errors import ModelError
from deeptrace.models.embedded.inputs import Bytes, Floats, motion_summary, prepare

WINDOW: Final = 24
"""Frames of a window: 3 s, as in training."""
STRIDE: Final = 16
"""Frames from one window to the next: they overlap by a second."""
LOOK_PARTS: Final = {"means": slice(0, 112), "unevenness": slice(112, 264), "motion": slice(264, 342)}
"""What the whole-clip head sees of a window: `generated_features` of the export (means over the stride-16 stage, how
unevenly both stages change), and `motion_summary`."""
LOOK: Final = LOOK_PARTS["motion"].stop
"""How many numbers that are."""


@dataclass(frozen=True)
class Said:
    """What the network says of one window of T frames and h x w cells (logits)."""

    first: int  # the window's first frame in the clip
    trace: Floats  # (T, h, w)
    started: Floats  # (T, h, w)
    box: Floats  # (T, 4, h, w), cells from the centre to left, top, right, bottom
    category: Floats  # (9,)
    clip: float
    onset: Floats  # (T,)
    look: Floats  # (342,), for the whole-clip head


class Network:
    """The ONNX file, loaded once. Runs on one thread unless told otherwise."""

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise ModelError("the embedded model needs onnxruntime. Run: pip install onnxruntime") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - onnxruntime raises types of its own for a bad file
            raise ModelError(f"cannot load the embedded model {path.name!r}: {error}") from None

    def __call__(self, images: Bytes, first: int = 0) -> Said:
        """What the network says of one window ``(T, H, W, 3)`` uint8."""
        inputs = prepare(images)
        trace, started, box, category, clip, onset, look = self._session.run(
            None, {"images": inputs.rgb, "aux": inputs.aux, "flow": inputs.flow}
        )
        look = np.concatenate([look, motion_summary(inputs.aux)])
        return Said(first, trace, started, box, category, float(clip), onset, look)

    def over(self, images: Bytes) -> list[Said]:
        """What it says of each window of a clip, in order."""
        return [self(images[first : first + WINDOW], first) for first in window_starts(len(images))]


def window_starts(count: int) -> list[int]:
    """First frames of the windows of a clip of ``count`` frames; the last window ends with the clip."""
    if count <= WINDOW:
        return [0]
    starts = list(range(0, count - WINDOW, STRIDE))
    return [*starts, count - WINDOW]
