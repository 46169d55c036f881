"""Videos that show the same footage: perceptual hashes of a few frames, compared all with all, joined into clusters.

Frames go in, clusters of indices come out. Finds copies, re-encodings, other sizes and slight changes of colour; does
not find mirrored or strongly cropped copies, nor two takes of one place.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.bool_]

HASH_BITS: Final = 63
FRAMES: Final = 4
"""Frames hashed of each video, at 0, 1/4, 1/2 and 3/4 of its length."""

MAX_BITS_APART: Final = 8
"""Two frames are alike when at most so many of the 63 bits differ; unrelated pictures differ in about 31."""

# A frame of nearly one colour has a hash of noise: it says nothing and matches nothing.
_FLAT_STD: Final = 4.0
_BLOCK: Final = 256


@dataclass(frozen=True)
class Fingerprint:
    """Hashes of a video's frames: ``bits`` is ``(T, 63)``, one row a frame that is not flat (T may be 0)."""

    bits: Bits


def frame_hash(image: npt.NDArray[np.uint8]) -> Bits | None:
    """The perceptual hash of one frame ``(H, W, 3)``: which of the 63 lowest frequencies lie above their median.

    The picture is reduced to 32 x 32 grey levels; the frequencies are of its discrete cosine transform, without the
    mean. None for a frame of nearly one colour. As described by C. Zauner, "Implementation and benchmarking of
    perceptual image hash functions" (2010).
    """
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = np.asarray(cv2.resize(gray, (32, 32), interpolation=cv2.INTER_AREA), np.float32)
    if small.std() < _FLAT_STD:
        return None
    low = np.asarray(cv2.dct(small))[:8, :8].ravel()[1:]  # (63,)
    return np.asarray(low > np.median(low), np.bool_)


def fingerprint(images: npt.NDArray[np.uint8]) -> Fingerprint:
    """The fingerprint of a video from its frames ``(T, H, W, 3)``; take `FRAMES` of them, evenly spread."""
    hashes = [bits for image in images if (bits := frame_hash(image)) is not None]
    return Fingerprint(np.stack(hashes) if hashes else np.empty((0, HASH_BITS), np.bool_))


def near_duplicates(
    prints: Sequence[Fingerprint | None], *, max_bits_apart: int = MAX_BITS_APART
) -> list[tuple[int, int]]:
    """Pairs ``(i, j)``, i < j, of videos that are alike, in order.

    Alike: at least half of the frames of each (of the video with fewer frames) have a like frame in the other, at
    whatever time, and at least two do where both have two. Every pair is compared; 6,638 videos take some seconds.
    """
    owners = [i for i, video in enumerate(prints) for _ in range(0 if video is None else len(video.bits))]
    if not owners:
        return []
    owner = np.array(owners)
    bits = np.concatenate([video.bits for video in prints if video is not None])  # (K, 63)
    signs = bits.astype(np.float32) * 2 - 1
    counts = np.bincount(owner, minlength=len(prints))
    # The product of two rows of signs is 63 - 2 * (bits apart).
    least = HASH_BITS - 2 * max_bits_apart
    near: list[npt.NDArray[np.intp]] = []
    for at in range(0, len(signs), _BLOCK):
        rows, columns = np.nonzero(signs[at : at + _BLOCK] @ signs[at:].T >= least)
        near.append(np.stack([rows + at, columns + at], axis=1))
    frames = np.concatenate(near)
    frames = frames[owner[frames[:, 0]] != owner[frames[:, 1]]]
    matched: dict[tuple[int, int], tuple[set[int], set[int]]] = {}
    for a, b in frames.tolist():
        i, j = int(owner[a]), int(owner[b])
        first, second = (a, b) if i < j else (b, a)
        left, right = matched.setdefault((min(i, j), max(i, j)), (set(), set()))
        left.add(first)
        right.add(second)
    pairs = []
    for (i, j), (left, right) in matched.items():
        fewer = int(min(counts[i], counts[j]))
        if min(len(left), len(right)) >= max(-(-fewer // 2), min(2, fewer)):
            pairs.append((i, j))
    return sorted(pairs)


# ── clusters ────────────────────────────────────────────────────────────────────────────────────────────────────────


def clusters(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """For each of ``count`` items the smallest index that it is joined with, directly or by others."""
    parent = list(range(count))

    def top(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in pairs:
        a, b = top(i), top(j)
        parent[max(a, b)] = min(a, b)
    return [top(i) for i in range(count)]


def same(keys: Sequence[Hashable | None]) -> list[tuple[int, int]]:
    """Pairs that join all items of an equal key; None is equal to nothing."""
    first: dict[Hashable, int] = {}
    pairs = []
    for i, key in enumerate(keys):
        if key is not None and first.setdefault(key, i) != i:
            pairs.append((first[key], i))
    return pairs


def members(cluster: Sequence[int]) -> Mapping[int, list[int]]:
    """The clusters of more than one item, by their smallest index."""
    groups: dict[int, list[int]] = {}
    for i, head in enumerate(cluster):
        groups.setdefault(head, []).append(i)
    return {head: items for head, items in groups.items() if len(items) > 1}
