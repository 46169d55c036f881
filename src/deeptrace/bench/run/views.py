"""What of a video a model is shown: all of it in order, its frames shuffled, or a single one.

A gain that survives shuffling is not motion, and one that survives a single frame is not even time. The frames are
sampled as the model asks for them, then rearranged; times and the shape of the video stay.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from typing import Literal

import numpy as np

from deeptrace.errors import ModelError
from deeptrace.models import Model, Sampling
from deeptrace.records import Frames
from deeptrace.video import VideoSource, sample_frames

View = Literal["in-order", "shuffled", "single"]


def sampling_of(model: Model) -> Sampling:
    """The sampling that a model states.

    Raises:
        ModelError: it states none, so its frames cannot be rearranged before it sees them.
    """
    sampling = getattr(model, "sampling", None)
    if not isinstance(sampling, Sampling):
        raise ModelError(f"{model.name!r} does not say how it samples frames; only the view 'in-order' fits it")
    return sampling


def look(path: str | os.PathLike[str], view: View, sampling: Sampling | None, video_id: str, seed: int) -> VideoSource:
    """What the model is given of the video: its path, or its frames rearranged. The same seed, the same order.

    Raises:
        VideoError: the frames cannot be read.
    """
    if view == "in-order" or sampling is None:
        return path
    frames = sample_frames(path, fps=sampling.fps, max_frames=sampling.max_frames, short_side=sampling.short_side)
    return shuffle(frames, video_id, seed) if view == "shuffled" else keep_middle(frames)


def shuffle(frames: Frames, video_id: str, seed: int) -> Frames:
    """The pictures ``(T, H, W, 3)`` in another order, at the same times; the order is drawn from seed and id."""
    digest = hashlib.sha256(f"{seed} {video_id}".encode("utf-8", "surrogatepass")).digest()
    order = np.random.default_rng(int.from_bytes(digest[:8], "big")).permutation(len(frames))
    return replace(frames, images=np.ascontiguousarray(frames.images[order]))


def keep_middle(frames: Frames) -> Frames:
    """The middle frame alone, ``(1, H, W, 3)``, at 0 seconds; of an even number the later one."""
    middle = len(frames) // 2
    return replace(frames, images=frames.images[middle : middle + 1], pts_seconds=np.zeros(1))
