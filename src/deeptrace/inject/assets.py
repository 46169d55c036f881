"""Photographs and cut-outs for rendered scenes, from folders that the user names. Nothing is read before it is used."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.errors import FileError

Image: TypeAlias = npt.NDArray[np.uint8]
Asset: TypeAlias = "str | os.PathLike[str] | Image"
"""A picture file, or its pixels: RGB ``(H, W, 3)`` for a photograph, RGBA ``(H, W, 4)`` for a cut-out."""

_PHOTO_NAMES = (".jpg", ".jpeg", ".png", ".webp")
_LARGEST_FILE = 64 << 20
# Larger pictures are shrunk when read: scenes are small, and a folder of camera originals would fill the memory.
_PHOTO_SIDE, _CUTOUT_SIDE = 1600, 512


def list_photos(folder: str | os.PathLike[str]) -> list[Path]:
    """The picture files below a folder, by name.

    Raises:
        FileError: there are none.
    """
    return _listed(folder, _PHOTO_NAMES, "JPEG, PNG or WebP photographs")


def list_cutouts(folder: str | os.PathLike[str]) -> list[Path]:
    """The PNG files below a folder, by name; those without transparency are refused when read.

    Folders named ``symbols`` are left out: letters and signs are not things that move through a scene.

    Raises:
        FileError: there are none.
    """
    return [path for path in _listed(folder, (".png",), "PNG cut-outs") if "symbols" not in path.parts]


def _listed(folder: str | os.PathLike[str], endings: tuple[str, ...], what: str) -> list[Path]:
    root = Path(folder)
    found = sorted(p for p in root.rglob("*") if p.suffix.lower() in endings and p.is_file())
    if not found:
        raise FileError(f"{root.name}: no {what} in this folder")
    return found


def photo(asset: Asset) -> Image:
    """A photograph, RGB uint8.

    Raises:
        FileError: the file is not a picture.
    """
    if isinstance(asset, np.ndarray):
        return asset
    return _read(str(asset), colour=True)


def cutout(asset: Asset) -> Image:
    """A cut-out, RGBA uint8, without empty borders.

    Raises:
        FileError: the file is not a picture, or has no transparency (or nothing else).
    """
    if isinstance(asset, np.ndarray):
        return asset
    return _read(str(asset), colour=False)


@lru_cache(maxsize=64)
def _read(path: str, *, colour: bool) -> Image:
    name = Path(path).name
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise FileError(f"{name}: {error.strerror}") from error
    if len(data) > _LARGEST_FILE:
        raise FileError(f"{name}: larger than {_LARGEST_FILE >> 20} MiB")
    raw = np.frombuffer(data, np.uint8)
    try:
        image = cv2.imdecode(raw, cv2.IMREAD_COLOR if colour else cv2.IMREAD_UNCHANGED) if len(raw) else None
    except cv2.error:
        image = None
    if image is None or min(image.shape[:2]) < 8:
        raise FileError(f"{name}: not a picture that can be read")
    if image.dtype != np.uint8:
        image = (image / 257).astype(np.uint8)
    if colour:
        return _shrunk(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)), _PHOTO_SIDE)
    if image.ndim != 3 or image.shape[2] != 4:
        raise FileError(f"{name}: has no transparency, so it is not a cut-out")
    ys, xs = np.nonzero(image[..., 3] > 32)
    if len(ys) < 64 or len(ys) > 0.98 * image.shape[0] * image.shape[1]:
        raise FileError(f"{name}: wholly transparent or wholly opaque, so it is not a cut-out")
    part = image[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    return _shrunk(np.asarray(cv2.cvtColor(part, cv2.COLOR_BGRA2RGBA)), _CUTOUT_SIDE)


def _shrunk(image: Image, side: int) -> Image:
    ratio = side / max(image.shape[:2])
    if ratio >= 1:
        return image
    size = (max(1, round(image.shape[1] * ratio)), max(1, round(image.shape[0] * ratio)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
