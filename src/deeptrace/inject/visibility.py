"""How plainly a change shows to a person, in just-noticeable differences.

A change in CIELAB is divided by what hides it: the smallest difference that is seen (2.3, Mahy et al. 1994), plus what
the picture's own local contrast masks. Knows two pictures, nothing of traces.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.inject.footage import Floats

JND_LAB: Final = 2.3
"""One just noticeable step in CIELAB (Mahy, Van Eycken, Oosterlinck, Evaluation of uniform color spaces; 1994)."""

# How much of the local contrast adds to the threshold: at 1 a change equal to the texture's own deviation is one unit.
_MASKING = 0.4
# The eye sums over a few minutes of arc: about a pixel of a small clip.
_SPREAD_PX = 0.8
_NEAR = (7, 7)


def lab(image: npt.NDArray[Any]) -> Floats:
    """CIELAB (L in 0..100) of an RGB picture in grey levels, ``(h, w, 3)``, slightly blurred as the eye does."""
    scaled = np.asarray(image, dtype=np.float32) / np.float32(255.0)
    soft = cv2.GaussianBlur(scaled, (0, 0), _SPREAD_PX)
    return np.asarray(cv2.cvtColor(np.clip(soft, 0, 1), cv2.COLOR_RGB2LAB), dtype=np.float32)


def noticed(before: npt.NDArray[Any], after: npt.NDArray[Any]) -> Floats:
    """The change of each pixel in just-noticeable differences, ``(h, w)``; 0 where nothing changed."""
    first, second = lab(before), lab(after)
    light = first[..., 0]
    mean = cv2.boxFilter(light, -1, _NEAR)
    contrast = np.sqrt(np.clip(cv2.boxFilter(light * light, -1, _NEAR) - mean * mean, 0, None))
    change = np.linalg.norm(second - first, axis=-1)
    return np.asarray(change / (JND_LAB + _MASKING * contrast), dtype=np.float32)
