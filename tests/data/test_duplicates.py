"""Near-duplicates: copies in other forms are found, other footage is not, clusters join by chains."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.data.audit.duplicates import (
    FRAMES,
    Fingerprint,
    clusters,
    fingerprint,
    frame_hash,
    members,
    near_duplicates,
    same,
)


def scene(seed: int, shift: float = 0.0, size: tuple[int, int] = (320, 180)) -> np.ndarray:
    """A picture of smooth random shapes, moved to the right by a share of its width."""
    coarse = np.random.default_rng(seed).integers(0, 255, (5, 9, 3), dtype=np.uint8)
    big = cv2.resize(coarse, (size[0] * 2, size[1]), interpolation=cv2.INTER_CUBIC)
    at = round(shift * size[0])
    return np.ascontiguousarray(big[:, at : at + size[0]])


def footage(seed: int) -> np.ndarray:
    return np.stack([scene(seed, 0.2 * k) for k in range(FRAMES)])


def coded(image: np.ndarray, quality: int = 30) -> np.ndarray:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1), np.uint8)


CHANGES = {
    "smaller": lambda image: cv2.resize(image, (160, 90), interpolation=cv2.INTER_AREA),
    "larger": lambda image: cv2.resize(image, (1280, 720)),
    "squeezed": lambda image: cv2.resize(image, (240, 180)),
    "coded": coded,
    "brighter": lambda image: np.clip(image.astype(int) + 20, 0, 255).astype(np.uint8),
    "noisy": lambda i: np.clip(i + np.random.default_rng(1).normal(0, 8, i.shape), 0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_footage_in_another_form_is_found(change: str) -> None:
    other = np.stack([CHANGES[change](image) for image in footage(1)])
    prints = [fingerprint(footage(1)), fingerprint(footage(2)), fingerprint(other), fingerprint(footage(3))]
    assert near_duplicates(prints) == [(0, 2)]


def test_other_footage_is_not() -> None:
    assert near_duplicates([fingerprint(footage(seed)) for seed in range(60)]) == []


def test_one_like_frame_of_four_is_not_enough() -> None:
    """A title that two films share."""
    mixed = np.stack([scene(1), *footage(2)[1:]])
    assert near_duplicates([fingerprint(footage(1)), fingerprint(mixed)]) == []
    half = np.stack([*footage(1)[:2], *footage(2)[2:]])
    assert near_duplicates([fingerprint(footage(1)), fingerprint(half)]) == [(0, 1)]


def test_moved_in_time_is_found() -> None:
    moved = np.stack([scene(1, 0.2 * k) for k in range(1, FRAMES + 1)])
    assert near_duplicates([fingerprint(footage(1)), fingerprint(moved)]) == [(0, 1)]


def test_black_frames_match_nothing() -> None:
    black = np.zeros((FRAMES, 90, 160, 3), np.uint8)
    assert frame_hash(black[0]) is None
    assert near_duplicates([fingerprint(black), fingerprint(black), None]) == []


def test_many_blocks_give_the_same_pairs_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    prints = [Fingerprint(rng.random((FRAMES, 63)) < 0.5) for _ in range(150)]
    for i, j in ((3, 140), (70, 71), (0, 149)):
        flipped = prints[i].bits.copy()
        flipped[:, :5] ^= True  # five bits of each frame
        prints[j] = Fingerprint(flipped)
    assert near_duplicates(prints) == [(0, 149), (3, 140), (70, 71)]
    assert near_duplicates(prints, max_bits_apart=4) == []


@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=20))
def test_clusters_are_what_chains_of_pairs_reach(count: int, pairs: list[tuple[int, int]]) -> None:
    pairs = [(a, b) for a, b in pairs if a < count and b < count]
    reach = {i: {i} for i in range(count)}
    for _ in range(count):
        for a, b in pairs:
            joined = reach[a] | reach[b]
            for i in joined:
                reach[i] |= joined
    assert clusters(count, pairs) == [min(reach[i]) for i in range(count)]


def test_members_and_same() -> None:
    assert same(["a", None, "b", "a", None, "a"]) == [(0, 3), (0, 5)]
    assert dict(members([0, 1, 0, 0, 4])) == {0: [0, 2, 3]}
