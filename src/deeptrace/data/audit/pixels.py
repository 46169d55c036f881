"""Measures of pictures for the shortcut probes: how they were coded and processed, and what they show at a glance.

Frames at native resolution go in, named numbers come out. No learned model; a pretrained one can be handed to
`deeptrace.data.audit` instead of `content_features`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Gray = npt.NDArray[np.float32]

_LEAST_SIDE: Final = 16  # smaller pictures are padded with their own edge
_SPECTRUM_SIDE: Final = 256
_RINGS: Final = 8
_GLANCE: Final = 128
_BLACK: Final = 20.0  # grey level: black in limited range, with some noise
_STATIC_RANGE: Final = 6.0  # grey levels a pixel may change over the clip and still count as standing still


def lowlevel_features(images: Images) -> dict[str, float]:
    """How pictures ``(T, H, W, 3)`` were coded and processed; T at least 1, at their native size.

    Blockiness, spectrum (slope and eight rings), noise, sharpness, black borders, grey range, and still overlays such
    as logos. Means over the frames, where not said otherwise.
    """
    pad_y, pad_x = (max(0, _LEAST_SIDE - side) for side in images.shape[1:3])
    grays = [np.pad(_gray(image), ((0, pad_y), (0, pad_x)), mode="edge") for image in images]
    rows = [{**_blockiness(gray), **_spectrum(gray), **_noise(gray), **_range(gray)} for gray in grays]
    features = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return {**features, **_borders(grays), **_overlay(grays)}


def content_features(image: Images) -> dict[str, float]:
    """What one picture ``(H, W, 3)`` shows at a glance: colours, edges and their directions, on 128 x 128 pixels."""
    small = cv2.resize(image, (_GLANCE, _GLANCE), interpolation=cv2.INTER_AREA)
    hsv: Any = cv2.cvtColor(small, cv2.COLOR_RGB2HSV).astype(np.float32)
    gray = _gray(np.asarray(small, np.uint8))
    hue, saturation, value = hsv[..., 0], hsv[..., 1] / 255, hsv[..., 2] / 255
    features = _named("hue", _shares(hue, 12, (0, 180), saturation))
    features |= _named("saturation", _shares(saturation, 4, (0, 1)))
    features |= _named("value", _shares(value, 8, (0, 1)))
    dx, dy = cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1)
    size, angle = np.hypot(dx, dy), np.mod(np.arctan2(dy, dx), np.pi)
    half = _GLANCE // 2
    for row in range(2):
        for column in range(2):
            part = np.s_[row * half : (row + 1) * half, column * half : (column + 1) * half]
            features |= _named(f"edges_{row}{column}", _shares(angle[part], 6, (0, np.pi), size[part]))
            features[f"edge_density_{row}{column}"] = float((size[part] > 80).mean())
    features["sharpness"] = float(np.log1p(cv2.Laplacian(gray, cv2.CV_32F).var()))
    red, green, blue = (small[..., i].astype(np.float32) for i in range(3))
    features["red_green"], features["yellow_blue"] = (
        float((red - green).mean()),
        float(((red + green) / 2 - blue).mean()),
    )
    features["contrast"] = float(gray.std())
    return features


# ── one frame ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _gray(image: Images) -> Gray:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)


def _named(name: str, values: npt.NDArray[np.floating[Any]]) -> dict[str, float]:
    return {f"{name}_{i}": float(value) for i, value in enumerate(values)}


def _shares(
    values: npt.NDArray[Any], bins: int, span: tuple[float, float], weights: npt.NDArray[Any] | None = None
) -> npt.NDArray[np.float64]:
    counts, _ = np.histogram(values, bins, span, weights=weights)
    total = counts.sum()
    return counts / total if total > 0 else np.zeros(bins)


def _blockiness(gray: Gray) -> dict[str, float]:
    """Mean step over the borders of 8 x 8 blocks by the mean step elsewhere: 1 without blocks.

    ``block_grid`` is for a grid that begins in the corner, ``block_any`` for the best of the eight phases each way: a
    picture that was cropped or scaled after coding carries a moved grid.
    """
    ratios = []
    for steps in (np.abs(np.diff(gray, axis=1)).mean(0), np.abs(np.diff(gray, axis=0)).mean(1)):
        phases = np.array([steps[k::8].mean() if len(steps[k::8]) else 0.0 for k in range(8)])
        total = max(float(steps.mean()), 1e-3)
        ratios.append((float(phases[7]) / total, float(phases.max()) / total))
    return {
        "block_grid": float(np.mean([ratio[0] for ratio in ratios])),
        "block_any": float(np.mean([ratio[1] for ratio in ratios])),
    }


def _spectrum(gray: Gray) -> dict[str, float]:
    """Log power of the centre in eight rings of frequency, each relative to the mean of all, and its slope.

    The slope is of log power over log frequency: about -2 for photographs, steeper for blurred or enlarged pictures.
    """
    side = min(_SPECTRUM_SIDE, *gray.shape)
    top, left = (gray.shape[0] - side) // 2, (gray.shape[1] - side) // 2
    crop = gray[top : top + side, left : left + side]
    window = np.hanning(side + 2)[1:-1]
    power = np.abs(np.fft.rfft2((crop - crop.mean()) * np.outer(window, window))) ** 2
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])  # cycles a pixel
    edges = np.linspace(1 / 64, 0.5, _RINGS + 1)
    rings = np.array(
        [
            np.log10(power[inside].mean() + 1e-3) if (inside := (radius >= low) & (radius < high)).any() else -3.0
            for low, high in pairwise(edges)
        ]
    )
    middle = np.log10((edges[:-1] + edges[1:]) / 2)
    slope = float(np.polyfit(middle, rings, 1)[0])
    return {"spectrum_slope": slope, **_named("spectrum", rings - rings.mean())}


def _noise(gray: Gray) -> dict[str, float]:
    """Standard deviation of noise in grey levels (J. Immerkaer 1996, CVIU 64/2), and sharpness."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = np.abs(cv2.filter2D(gray, cv2.CV_32F, kernel))
    return {
        "noise": float(np.sqrt(np.pi / 2) / 6 * response.mean()),
        "noise_flat": float(np.median(response)) / 6,
        "sharpness": float(np.log1p(cv2.Laplacian(gray, cv2.CV_32F).var())),
    }


def _range(gray: Gray) -> dict[str, float]:
    low, high = np.percentile(gray, (1, 99))
    return {"darkest": float(low), "brightest": float(high)}


# ── over the clip ───────────────────────────────────────────────────────────────────────────────────────────────────


def _borders(grays: list[Gray]) -> dict[str, float]:
    """Share of the picture that is a black border in every frame, from each side."""
    brightest = np.max(grays, axis=0)
    rows, columns = brightest.mean(1) < _BLACK, brightest.mean(0) < _BLACK
    return {
        "border_top": _run(rows),
        "border_bottom": _run(rows[::-1]),
        "border_left": _run(columns),
        "border_right": _run(columns[::-1]),
    }


def _run(flags: npt.NDArray[np.bool_]) -> float:
    """Share of the flags before the first that is not set."""
    stop = np.flatnonzero(~flags)
    return float((stop[0] if len(stop) else len(flags)) / len(flags))


def _overlay(grays: list[Gray]) -> dict[str, float]:
    """How much stands still over the clip, and still edges in the corners beyond those elsewhere (a logo)."""
    steady = np.ptp(np.stack(grays), axis=0) <= _STATIC_RANGE
    mean = np.asarray(np.mean(grays, axis=0), np.float32)
    edge = steady & (np.abs(cv2.Laplacian(mean, cv2.CV_32F)) > 40)
    height, width = edge.shape
    high, wide = max(1, height // 6), max(1, width // 5)
    bands, sides = (np.s_[:high], np.s_[-high:]), (np.s_[:wide], np.s_[-wide:])
    corners = [edge[rows, columns].mean() for rows in bands for columns in sides]
    return {"still": float(steady.mean()), "still_edges": float(edge.mean()), "logo": float(max(corners) - edge.mean())}
