"""Prepared pairs on disk, made ahead of the trainer by other processes and thrown away behind it.

Pair i is a function of (stage seed, i) alone, so training sees the same pairs however many processes make them, and
after a restart. A file holds both twins as the frozen backbone's features and motion maps, in float16.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from deeptrace.errors import TrainError
from deeptrace.files import atomic_write
from deeptrace.models.embedded.inputs import prepare
from deeptrace.train.embedded.targets import make_targets

if TYPE_CHECKING:
    from deeptrace.train.embedded.draw import Drawn

_KEYS: Final = ("fine", "coarse", "aux", "flow")


@dataclass(frozen=True)
class PreparedPair:
    """A prepared pair: arrays ``(2, T, C, h, w)`` float16, the fake first, and the fake's targets."""

    fine: npt.NDArray[np.float16]
    coarse: npt.NDArray[np.float16]
    aux: npt.NDArray[np.float16]
    flow: npt.NDArray[np.float16]
    trace: npt.NDArray[np.float32]  # (T, h, w)
    box: npt.NDArray[np.float32]  # (T, 4)
    onset: int
    category: int


class FeatureMaker:
    """Features of clips by the frozen backbone as ONNX, on one thread."""

    def __init__(self, onnx_path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(onnx_path), options, providers=["CPUExecutionProvider"])

    def __call__(self, images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float16]]:
        """``fine``, ``coarse``, ``aux``, ``flow`` of a window of frames."""
        inputs = prepare(images)
        fine, coarse = self._session.run(None, {"images": inputs.rgb})
        features = {"fine": fine, "coarse": coarse, "aux": inputs.aux, "flow": inputs.flow}
        return {name: value.astype(np.float16) for name, value in features.items()}


def save_pair(path: Path, drawn: Drawn, maker: FeatureMaker, *, sham: bool) -> None:
    """Prepare a pair (with the sham or the clean twin) and write it, whole or not at all.

    Raises:
        FileError: the system refused.
    """
    twins = [maker(drawn.fake), maker(drawn.sham if sham else drawn.clean)]
    targets = make_targets(drawn.mask, drawn.boxes, drawn.onset, drawn.category)
    arrays: dict[str, Any] = {key: np.stack([twin[key] for twin in twins]) for key in _KEYS}
    arrays |= {"trace": targets.trace.astype(np.uint8), "box": targets.box}
    arrays["number"] = np.array([targets.onset, targets.category, int(sham), int(drawn.footage)])
    with atomic_write(path) as file:
        np.savez(file, **arrays)


def load_pair(path: Path) -> PreparedPair:
    """A pair written by `save_pair`.

    Raises:
        TrainError: its bytes are not a pair.
        OSError: the system refused.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            number = arrays["number"]
            return PreparedPair(
                fine=arrays["fine"],
                coarse=arrays["coarse"],
                aux=arrays["aux"],
                flow=arrays["flow"],
                trace=arrays["trace"].astype(np.float32),
                box=arrays["box"],
                onset=int(number[0]),
                category=int(number[1]),
            )
    except (ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise TrainError(
            f"spool/{path.name}: damaged ({type(error).__name__}). Delete it and run again: it is made anew"
        ) from None
