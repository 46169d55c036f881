"""Videos that no reward must be given to: there is too little to see in them, so that seeing no trace means nothing.

A policy that is rewarded for showing no trace learns to show nothing: one frame, a blank picture, a still. Such a video
gets a reason in the place of a value. Thresholds are set so that dark, plain and slow camera footage passes (see the
card): what is refused has nothing in it at all.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import numpy.typing as npt

UnusualCode = Literal["PARTIAL_VIDEO", "TOO_FEW_FRAMES", "BLANK_VIDEO", "FROZEN_VIDEO"]

FEWEST_FRAMES: Final = 6
"""Fewer say nothing about how things move."""
LEAST_SPREAD: Final = 3.0
"""Grey levels (of 255): standard deviation of a picture below which it is blank."""
LEAST_CHANGE: Final = 0.15
"""Grey levels: mean change of a pixel from one picture to the next below which they are the same picture."""
LARGEST_SHARE: Final = 0.5
"""Of the pictures, or of the steps between them, from which on a video is blank, or frozen."""


class PictureStats:
    """Spread and change of a video's pictures, taken in piece by piece."""

    def __init__(self) -> None:
        self.pictures = self.blank = self.steps = self.still = 0
        self._last: npt.NDArray[np.float32] | None = None
        self._next = 0

    def add(self, images: npt.NDArray[np.uint8], first: int) -> None:
        """Pictures ``(T, H, W, 3)`` uint8, the first of which is frame ``first``; those seen before are passed over."""
        for image in images[max(0, self._next - first) :]:
            grey = image.mean(axis=2, dtype=np.float32)
            self.pictures += 1
            self.blank += bool(grey.std() < LEAST_SPREAD)
            if self._last is not None:
                self.steps += 1
                self.still += bool(np.abs(grey - self._last).mean() < LEAST_CHANGE)
            self._last = grey
        self._next = max(self._next, first + len(images))

    def problem(self) -> tuple[UnusualCode, str] | None:
        """Why a video of these pictures gets no reward; None where it may."""
        if self.pictures < FEWEST_FRAMES:
            return "TOO_FEW_FRAMES", f"only {self.pictures} pictures to look at, {FEWEST_FRAMES} needed"
        if self.blank > LARGEST_SHARE * self.pictures:
            return "BLANK_VIDEO", f"{self.blank} of {self.pictures} pictures are blank"
        if self.still > LARGEST_SHARE * self.steps:
            return "FROZEN_VIDEO", f"nothing changes in {self.still} of {self.steps} steps"
        return None
