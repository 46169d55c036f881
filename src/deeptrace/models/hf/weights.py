"""safetensors files, read and written by their bytes: strict headers, tensors streamed, NaN found. Needs NumPy only.

A file is an 8-byte length, a JSON header (tensor name -> dtype, shape, range of bytes), and the bytes. Nothing here
builds a model; nothing here holds more than `CHUNK_BYTES` of a tensor.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from deeptrace.errors import FileError, JsonError, ModelError
from deeptrace.files import dumps, loads, read_bytes

CHUNK_BYTES: Final = 16 << 20
MAX_HEADER_BYTES: Final = 16 << 20
"""A sixth of the library's own limit: a model of a thousand tensors has a header of 0.1 MB."""

MAX_TENSORS: Final = 50_000

INDEX_NAME: Final = "model.safetensors.index.json"

ITEM_BYTES: Final[dict[str, int]] = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip
"""Bytes of one number, type by type."""


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file: its bytes are ``file[start:end]``."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    end: int

    @property
    def nbytes(self) -> int:
        """Bytes that it takes, in the file and in memory."""
        return self.end - self.start

    def read(self) -> Iterator[bytes]:
        """Its bytes, at most `CHUNK_BYTES` at a time.

        Raises:
            ModelError: the file ends early or cannot be read.
        """
        try:
            with open(self.file, "rb") as file:
                file.seek(self.start)
                left = self.nbytes
                while left:
                    chunk = file.read(min(left, CHUNK_BYTES))
                    if not chunk:
                        raise ModelError(f"{self.file.name!r} ends within the tensor {self.name!r}.")
                    left -= len(chunk)
                    yield chunk
        except OSError as error:
            raise ModelError(f"cannot read {self.file.name!r}: {error.strerror}.") from None


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_header(file: IO[bytes], size: int, path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file of ``size`` bytes by name, in the order of their bytes.

    Read are shapes ``(out, in)``, dtypes and places; no numbers.

    Raises:
        ModelError: it is not one, its header is too large or malformed, a dtype is unknown, a shape does not fit its
            bytes, or tensors overlap, leave a hole or leave the file.
    """
    name = path.name
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
        raise ModelError(f"{name!r} is not a safetensors file: a header of {length} bytes in a file of {size}.")
    try:
        header = loads(file.read(length).rstrip(b" "))
    except JsonError as error:
        raise ModelError(f"the header of {name!r} is {error}.") from None
    if not isinstance(header, dict):
        raise ModelError(f"the header of {name!r} is not an object.")
    if len(header) > MAX_TENSORS:
        raise ModelError(f"the header of {name!r} names {len(header)} tensors, more than {MAX_TENSORS}.")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ModelError(f"the header of {name!r} has metadata that are not texts.")
    tensors = sorted(
        (_tensor(key, row, path, 8 + length) for key, row in header.items()),
        key=lambda tensor: (tensor.start, tensor.end),
    )
    expected = 8 + length
    for tensor in tensors:
        if tensor.start != expected:
            what = "overlaps the one before it" if tensor.start < expected else "leaves a hole before it"
            raise ModelError(f"the tensor {tensor.name!r} of {name!r} {what}.")
        expected = tensor.end
    if expected != size:
        raise ModelError(f"the tensors of {name!r} end at byte {expected}, the file at {size}.")
    return {tensor.name: tensor for tensor in tensors}


def _tensor(name: str, row: Any, path: Path, base: int) -> Tensor:
    where = f"the tensor {name!r} of {path.name!r}"
    if not isinstance(row, dict) or set(row) != {"dtype", "shape", "data_offsets"}:
        raise ModelError(f"{where} has not just dtype, shape and data_offsets.")
    dtype, shape, offsets = row["dtype"], row["shape"], row["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise ModelError(f"{where} has the unknown dtype {dtype!r}.")
    if not isinstance(shape, list) or not all(_is_count(side) for side in shape):
        raise ModelError(f"{where} has the shape {shape!r}.")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_count(offset) for offset in offsets):
        raise ModelError(f"{where} has the offsets {offsets!r}.")
    start, end = offsets
    if end - start != math.prod(shape) * ITEM_BYTES[dtype]:
        raise ModelError(f"{where} has {end - start} bytes for {dtype} of shape {shape}.")
    return Tensor(name, dtype, tuple(shape), path, base + start, base + end)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def read_file(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of one file by name: shapes ``(out, in)`` and places, no numbers. See `read_header`."""
    path = Path(path)
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            return read_header(file, size, path)
    except OSError as error:
        raise ModelError(f"cannot read {path.name!r}: {error.strerror}.") from None


def shard_files(folder: str | os.PathLike[str]) -> list[Path]:
    """The safetensors files that hold a checkpoint's weights, in the order of their names.

    With an index the files it names, all of which must be there; else the folder's one file (or adapter).

    Raises:
        ModelError: there is none, the index is malformed, or names a file that is not in this folder.
    """
    folder = Path(folder)
    if (folder / INDEX_NAME).exists():
        try:
            index = loads(read_bytes(folder / INDEX_NAME, limit=64 << 20))
        except (FileError, JsonError) as error:
            raise ModelError(f"{INDEX_NAME}: {error}.") from None
        names = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
            raise ModelError(f"{INDEX_NAME} has no weight_map from tensors to files.")
        files = [folder / name for name in sorted(set(names.values()))]
        for file in files:
            if file.parent != folder or file.suffix != ".safetensors" or not file.is_file():
                raise ModelError(f"{INDEX_NAME} names {file.name!r}, which is not a safetensors file of this folder.")
        return files
    for name in ("model.safetensors", "adapter_model.safetensors"):
        if (folder / name).is_file():
            return [folder / name]
    raise ModelError(f"{folder.name!r} has no safetensors weights (model.safetensors, or {INDEX_NAME} and its files).")


def read_weights(folder: str | os.PathLike[str]) -> dict[str, Tensor]:
    """All tensors of a checkpoint by name, whatever the number of its files: shapes ``(out, in)``, no numbers yet.

    Raises:
        ModelError: as `read_file` and `shard_files`, or one name stands in two files.
    """
    tensors: dict[str, Tensor] = {}
    for file in shard_files(folder):
        for name, tensor in read_file(file).items():
            if name in tensors:
                raise ModelError(f"the tensor {name!r} stands in {tensors[name].file.name!r} and in {file.name!r}.")
            tensors[name] = tensor
    return tensors


_EXPONENT: Final[dict[str, tuple[Any, int]]] = {
    "F16": (np.uint16, 0x7C00),
    "BF16": (np.uint16, 0x7F80),
    "F32": (np.uint32, 0x7F80_0000),
    "F64": (np.uint64, 0x7FF0_0000_0000_0000),
}


def _not_finite(chunk: bytes, dtype: str) -> int:
    """How many numbers are NaN or infinite: all ones in the exponent. Whole numbers, for NumPy has no BF16."""
    if dtype not in _EXPONENT:
        return 0
    kind, mask = _EXPONENT[dtype]
    return int(np.count_nonzero((np.frombuffer(chunk, kind) & kind(mask)) == kind(mask)))


def count_not_finite(tensor: Tensor) -> int:
    """How many numbers of a tensor are NaN or infinite; 0 for whole numbers and 8-bit floats."""
    return sum(_not_finite(chunk, tensor.dtype) for chunk in tensor.read())


def inspect_tensor(tensor: Tensor) -> tuple[str, int]:
    """SHA-256 of a tensor's bytes in hexadecimal, and how many numbers are NaN or infinite, by reading it once."""
    digest, count = hashlib.sha256(), 0
    for chunk in tensor.read():
        digest.update(chunk)
        count += _not_finite(chunk, tensor.dtype)
    return digest.hexdigest(), count


def fingerprint(folder: str | os.PathLike[str]) -> str:
    """16 hexadecimal digits that tell one set of weights from another without reading them all.

    Of every tensor its name, type, shape, first and last 2 KiB count: any further step of training changes it.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(read_weights(folder).items()):
        digest.update(dumps([name, tensor.dtype, list(tensor.shape)]).encode())
        with open(tensor.file, "rb") as file:
            for start in (tensor.start, max(tensor.start, tensor.end - 2048)):
                file.seek(start)
                digest.update(file.read(min(2048, tensor.nbytes)))
    return digest.hexdigest()[:16]


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def copy_renamed(tensors: Iterable[tuple[str, Tensor]], path: Path) -> dict[str, str]:
    """Write tensors of any float or integer dtype under new names into one file, their bytes as they are.

    Returned is the SHA-256 of each, in hexadecimal, by its new name.

    Raises:
        ModelError: a source cannot be read.
        FileError: the system refused to write.
    """
    chosen = list(tensors)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, tensor in chosen:
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [at, at + tensor.nbytes]}
        at += tensor.nbytes
    text = dumps(header).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight, as the library aligns them
    sums: dict[str, str] = {}
    try:
        with open(path, "xb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name, tensor in chosen:
                digest = hashlib.sha256()
                for chunk in tensor.read():
                    digest.update(chunk)
                    file.write(chunk)
                sums[name] = digest.hexdigest()
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise FileError(f"cannot write {path.name!r}: {error.strerror}") from None
    return sums


def index_of(files: Mapping[str, Iterable[Tensor]]) -> str:
    """The index of a checkpoint in several files, as JSON text; ``files``: file name -> the tensors in it."""
    rows = {tensor.name: name for name, tensors in files.items() for tensor in tensors}
    total = sum(tensor.nbytes for tensors in files.values() for tensor in tensors)
    return dumps({"metadata": {"total_size": total}, "weight_map": dict(sorted(rows.items()))}, indent=2) + "\n"


def header_of(data: bytes) -> dict[str, Tensor]:
    """The tensors of a file whose bytes are in memory, by name: shapes ``(out, in)``, no numbers. See `read_header`."""
    return read_header(io.BytesIO(data), len(data), Path("bytes"))
