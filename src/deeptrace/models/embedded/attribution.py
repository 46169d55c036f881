"""Which part of a window makes the clip look generated: the whole-clip head's own numbers, traced back to cells.

The head is linear in 510 numbers, each a mean, a deviation or a percentile over the cells of the window's maps.
`influence` says of each cell how much evidence goes when it is left out, to first order (the influence function of each
statistic, Hampel 1974); `look_without` leaves cells out for good and computes the numbers anew, which is how the former
is checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from deeptrace.models.embedded.inputs import Floats
from deeptrace.models.embedded.windows import LOOK_PARTS, Stages

Doubles: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]

REGIONS: Final = 3
"""A window is divided into 3 x 3 regions, which have names in words, and into 3 spans of time."""

_SOFT: Final = 1e-3  # keeps a division by a deviation finite
_PERCENTILES: Final = (0.5, 0.9, 0.99)
_SLOPE: Final = 0.005  # shares on both sides of a percentile from which its density is taken


@dataclass(frozen=True)
class Part:
    """One of the regions (rows and columns of cells) or spans of time (frames) of a window."""

    frames: slice
    rows: slice
    columns: slice


def parts_of(shape: tuple[int, int, int]) -> tuple[list[Part], list[Part]]:
    """The nine regions, over all frames, and the three spans of time, over all cells, of ``(T, h, w)`` cells."""
    count, rows, columns = shape
    everywhere = slice(0, rows), slice(0, columns)
    spans = [Part(span, *everywhere) for span in _thirds(count)]
    regions = [Part(slice(0, count), row, column) for row in _thirds(rows) for column in _thirds(columns)]
    return regions, spans


def _thirds(count: int) -> list[slice]:
    edges = [round(i * count / REGIONS) for i in range(REGIONS + 1)]
    return [slice(start, end) for start, end in pairwise(edges) if start < end]


def mask_without(shape: tuple[int, int, int], part: Part) -> Mask:
    """Which cells are left without the part: ``(T, h, w)`` bool, True for every cell but those of the part."""
    keep = np.ones(shape, np.bool_)
    keep[part.frames, part.rows, part.columns] = False
    return keep


def look_without(stages: Stages, keep: Mask) -> Doubles:
    """The head's numbers ``(510,)`` over the cells ``(T, h, w)`` that are kept. Of all cells: what the network gives.

    A deep cell lies over four of them and more, and counts by the share that is kept. A change over time belongs to its
    later frame.
    """
    values = [_keep_cells(stages.coarse, keep).mean(axis=0)]
    share = _shares(keep.astype(np.float64), stages.deep.shape[2:])
    values.append(np.einsum("tcij,tij->c", stages.deep.astype(np.float64), share) / share.sum())
    return np.asarray(np.concatenate([*values, _motion_without(stages.aux, keep)]), np.float64)


def influence(stages: Stages, weights: Doubles) -> Doubles:
    """How much evidence each cell ``(T, h, w)`` brings, above what the window's others bring; its sum is about 0."""
    shape = (len(stages.coarse), *stages.coarse.shape[2:])
    total = _of_mean(stages.coarse, weights[LOOK_PARTS["coarse"]])
    deep = _of_mean(stages.deep, weights[LOOK_PARTS["deep"]])
    # What a deep cell brings is shared out evenly among the cells under it.
    rows, columns = (_over(count, coarser) for count, coarser in zip(shape[1:], deep.shape[1:], strict=True))
    total += (deep / _sums(np.ones(shape), deep.shape[1:]))[:, rows][:, :, columns]
    total[1:] += _gather(_of_motion(stages.aux[1:].astype(np.float64), weights[LOOK_PARTS["motion"]]), shape)
    return np.asarray(total, np.float64)


def _of_mean(stage: Floats, weights: Doubles) -> Doubles:
    """What each cell brings to ``weights @ mean`` of a stage ``(T, C, h, w)``."""
    values = stage.astype(np.float64)
    apart = values - values.mean(axis=(0, 2, 3), keepdims=True)
    return np.asarray(np.einsum("c,tcij->tij", weights, apart) / values[:, 0].size)


def _over(count: int, coarser: int) -> npt.NDArray[np.intp]:
    """Which deep row or column lies over each of ``count`` cells; the last one over those that are left over, too."""
    return np.minimum(np.arange(count) // 2, coarser - 1)


def _sums(cells: Doubles, size: tuple[int, ...]) -> Doubles:
    """Sums of cells ``(T, h, w)`` under each deep cell, ``(T, *size)``."""
    for axis, coarser in enumerate(size, 1):
        cells = np.add.reduceat(cells, 2 * np.arange(coarser), axis=axis)
    return cells


def _shares(cells: Doubles, size: tuple[int, ...]) -> Doubles:
    """Means of cells ``(T, h, w)`` under each deep cell, ``(T, *size)``."""
    return _sums(cells, size) / _sums(np.ones_like(cells), size)


def _of_motion(values: Doubles, weights: Doubles) -> Doubles:
    """What each cell brings to the numbers of `motion_summary`, of maps ``(T, 13, h, w)``."""
    count, channels = len(values), values.shape[1]
    to_mean, to_deviation, *to_percentiles, to_variation = weights.reshape(-1, channels)
    size = values[:, 0].size
    mean = values.mean(axis=(0, 2, 3), keepdims=True)
    apart = values - mean
    variance = (apart**2).mean(axis=(0, 2, 3), keepdims=True)
    brought = np.einsum("c,tcij->tij", to_mean, apart)
    brought += np.einsum("c,tcij->tij", to_deviation, (apart**2 - variance) / (2 * np.sqrt(variance) + _SOFT))
    for share, slope in zip(_PERCENTILES, to_percentiles, strict=True):
        low, here, high = np.quantile(values, (share - _SLOPE, share, share + _SLOPE), axis=(0, 2, 3))
        width = ((high - low) / (2 * _SLOPE))[:, None, None]  # one over the density
        brought += np.einsum("c,tcij->tij", slope, (share - (values <= here[:, None, None])) * width)
    of_frame = values.mean(axis=(2, 3), keepdims=True)  # (T, 13, 1, 1)
    off = of_frame - mean
    varied = np.sqrt((off**2).mean(axis=0, keepdims=True)) + _SOFT
    brought += np.einsum("c,tcij->tij", to_variation, off / varied * (values - of_frame))
    brought += np.einsum("c,tcij->tij", to_variation, (off**2 - varied**2) / (2 * varied) + 0 * values)
    assert count == len(brought)
    return np.asarray(brought / size)


def _motion_without(aux: Floats, keep: Mask) -> Doubles:
    values, cells = aux[1:].astype(np.float64), _spread(keep, aux)[1:]
    if not len(values):
        values, cells = aux.astype(np.float64), _spread(keep, aux)
    inside = _keep_cells(values, cells)
    percentiles = np.quantile(inside, _PERCENTILES, axis=0)
    frames = [
        _keep_cells(values[t : t + 1], cells[t : t + 1]).mean(axis=0) for t in range(len(values)) if cells[t].any()
    ]
    return np.concatenate([inside.mean(axis=0), inside.std(axis=0), percentiles.ravel(), np.std(frames, axis=0)])


def _keep_cells(values: npt.NDArray[np.floating], cells: Mask) -> Doubles:
    """The vectors ``(n, C)`` of the cells that are kept, of maps ``(T, C, h, w)``."""
    return np.asarray(np.moveaxis(values, 1, -1)[cells], np.float64)


def _spread(keep: Mask, maps: npt.NDArray[np.floating]) -> Mask:
    """The mask at the finer cells of other maps."""
    factor = maps.shape[2] // keep.shape[1]
    return np.repeat(np.repeat(keep, factor, axis=1), factor, axis=2)


def _gather(values: Doubles, shape: tuple[int, int, int]) -> Doubles:
    """Sums of finer cells ``(t, f h, f w)`` over those of the mask's size ``(t, h, w)``."""
    rows, columns = shape[1:]
    factor = values.shape[1] // rows
    return np.asarray(values.reshape(len(values), rows, factor, columns, factor).sum(axis=(2, 4)))
