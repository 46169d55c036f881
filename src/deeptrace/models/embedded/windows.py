"""A clip through the network: overlapping windows of frames in, what the network says of each out.

Only the two ONNX files are needed, and onnxruntime. Knows nothing of verdicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from deeptrace.errors import ModelError
from deeptrace.models.embedded.inputs import Bytes, Floats, motion_summary, prepare
from deeptrace.records import Frames

WINDOW: Final = 24
"""Frames of a window: 3 s, as in training (`deeptrace.train.embedded.draw.COUNT`). Chosen."""
STRIDE: Final = 16
"""Frames from one window to the next: they overlap by a second, so that an onset is well inside one. Chosen."""
LOOK_PARTS: Final = {"coarse": slice(0, 112), "deep": slice(112, 432), "motion": slice(432, 510)}
"""What the whole-clip head sees of a window: `generated_features` of the export (means over the stages at strides 16
and 32), and `motion_summary`."""
LOOK: Final = LOOK_PARTS["motion"].stop
"""How many numbers that are."""

DETAIL: Final = 768
"""How many numbers the head for crops at their own size sees: `detail_features` of the export."""

BACKBONE_NAME: Final = "backbone.onnx"
"""The file of the first half: pictures to the values of `SEEN`."""
TRACES_NAME: Final = "traces.onnx"
"""The file of the second half: "fine" and "coarse" of the first with motion maps, to the values of `SAID`."""
SEEN: Final = ("fine", "coarse", "deep", "look", "detail")
"""Outputs of the backbone. "look" and "detail" are what the whole-clip heads see; "coarse" and "deep" what the former
is made of, for those who ask which place it is from."""
SAID: Final = ("trace", "started", "box", "category", "clip", "onset")
"""Outputs of the half that tells traces, see `WindowOutputs`."""


@dataclass(frozen=True)
class Window:
    """Neighbouring frames of a clip, at most `WINDOW`."""

    first: int  # the window's first frame in the clip
    images: Bytes  # (T, H, W, 3)
    pts_seconds: npt.NDArray[np.float64]  # (T,)


@dataclass(frozen=True)
class WindowOutputs:
    """What the network says of one window of T frames and h x w cells (logits)."""

    first: int  # the window's first frame in the clip
    trace: Floats  # (T, h, w)
    started: Floats  # (T, h, w)
    box: Floats  # (T, 4, h, w), cells from the centre to left, top, right, bottom
    category: Floats  # (9,)
    clip: float
    onset: Floats  # (T,)
    look: Floats  # (510,), for the whole-clip head


@dataclass(frozen=True)
class Stages:
    """What the whole-clip head's numbers are made of: the backbone's two stages and the motion maps of one window."""

    coarse: Floats  # (T, 112, h, w)
    deep: Floats  # (T, 320, h // 2, w // 2)
    aux: Floats  # (T, 13, 4h, 4w)


class Network:
    """The ONNX files of a folder, loaded once. Runs on one thread unless told otherwise."""

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        self._backbone, self._traces = (_session(folder / name, threads) for name in (BACKBONE_NAME, TRACES_NAME))

    def __call__(self, images: Bytes, first: int = 0) -> WindowOutputs:
        """What the network says of one window ``(T, H, W, 3)`` uint8."""
        inputs = prepare(images)
        fine, coarse, look = self._backbone.run(("fine", "coarse", "look"), {"images": inputs.rgb})
        trace, started, box, category, clip, onset = self._traces.run(
            SAID, {"fine": fine, "coarse": coarse, "aux": inputs.aux, "flow": inputs.flow}
        )
        look = np.concatenate([look, motion_summary(inputs.aux)])
        return WindowOutputs(first, trace, started, box, category, float(clip), onset, look)

    def detail(self, crop: Bytes) -> Floats:
        """What a crop at its own size shows: ``(768,)``, from ``(T, S, S, 3)`` uint8 with S a multiple of 16."""
        (detail,) = self._backbone.run(("detail",), {"images": crop})
        return np.asarray(detail, np.float32)

    def over(self, images: Bytes) -> list[WindowOutputs]:
        """What it says of each window of a clip, in order."""
        return [self(images[first : first + WINDOW], first) for first in window_starts(len(images))]

    def stages(self, images: Bytes) -> Stages:
        """What the head's numbers of one window ``(T, H, W, 3)`` uint8 are made of."""
        inputs = prepare(images)
        coarse, deep = self._backbone.run(("coarse", "deep"), {"images": inputs.rgb})
        return Stages(coarse, deep, inputs.aux)


def _session(path: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise ModelError("the embedded model needs onnxruntime. Run: pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # it would keep the 140 MB of one window for ever, and is no faster
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - onnxruntime raises types of its own for a bad file
        raise ModelError(f"cannot load the embedded model {path.name!r}: {error}") from None


def window_starts(count: int) -> list[int]:
    """First frames of the windows of a clip of ``count`` frames; the last window ends with the clip."""
    if count <= WINDOW:
        return [0]
    starts = list(range(0, count - WINDOW, STRIDE))
    return [*starts, count - WINDOW]


def windows_of(parts: Iterable[Frames]) -> Iterator[Window]:
    """The windows ``(T, H, W, 3)`` of frames that come in parts: those of `window_starts`, each as soon as it is known.

    No more than a window and a part are held at once.
    """
    images: list[Bytes] = []
    times: list[float] = []
    first = wanted = 0  # the first frame that is held, and that of the next window
    for part in parts:
        for image, time in zip(part.images, part.pts_seconds, strict=True):
            images.append(image)
            times.append(float(time))
            if first + len(images) > wanted + WINDOW:  # a window that does not end with the clip
                yield _window(images, times, first, wanted, WINDOW)
                wanted += STRIDE
            spare = min(wanted, first + len(images) - WINDOW) - first
            if spare > 0:
                del images[:spare], times[:spare]
                first += spare
    count = first + len(images)
    last = window_starts(count)[-1]
    yield _window(images, times, first, last, count - last)


def _window(images: list[Bytes], times: list[float], held: int, first: int, count: int) -> Window:
    at = first - held
    return Window(first, np.stack(images[at : at + count]), np.array(times[at : at + count], np.float64))
