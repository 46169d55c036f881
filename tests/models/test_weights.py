"""safetensors by their bytes: what is damaged or dressed up is refused, what is copied is the same, NaN is found."""

from __future__ import annotations

import io
import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrace.errors import ModelError
from deeptrace.models.hf import weights
from deeptrace.models.hf.checkpoint import CARD_NAME, CheckpointCard, read_card, refuse_unsafe, write_card
from deeptrace.models.hf.weights import (
    copy_renamed,
    count_not_finite,
    fingerprint,
    index_of,
    inspect_tensor,
    read_file,
    read_header,
    read_weights,
)


def file_of(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def row(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


GOOD = file_of({"b": row([2], 8, 16), "a": row([2, 1], 0, 8), "__metadata__": {"format": "pt"}}, bytes(16))


def read(data: bytes) -> dict[str, weights.Tensor]:
    return read_header(io.BytesIO(data), len(data), Path("x.safetensors"))


def test_tensors_come_in_the_order_of_their_bytes() -> None:
    tensors = read(GOOD)
    assert [(t.name, t.dtype, t.shape, t.nbytes) for t in tensors.values()] == [
        ("a", "F32", (2, 1), 8),
        ("b", "F32", (2,), 8),
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a safetensors file"),
        (b"\x80\x04\x95" + bytes(40), "not a safetensors file"),  # a pickle
        (b"PK\x03\x04" + bytes(60), "not a safetensors file"),  # a zip, as torch.save writes
        (struct.pack("<Q", 1 << 40) + b"{}", "not a safetensors file"),
        (struct.pack("<Q", 200) + b"{}", "not a safetensors file"),
        (file_of(b"{ "), "not JSON"),
        (file_of(b"[]"), "not an object"),
        (file_of(b'{"a":1,"a":2}'), "stands twice"),
        (file_of(b"\xff\xfe{}"), "not UTF-8"),
        (file_of(b'{"a": ' + b"[" * 2000 + b"]" * 2000 + b"}"), "nested"),
        (file_of({"__metadata__": {"format": 5}}), "metadata"),
        (file_of({"a": 5}), "has not just"),
        (file_of({"a": {"dtype": "F32", "shape": [1]}}), "has not just"),
        (file_of({"a": row([1], 0, 4, "F99")}, bytes(4)), "unknown dtype 'F99'"),
        (file_of({"a": row([-1], 0, 4)}, bytes(4)), "the shape"),
        (file_of({"a": row([1.5], 0, 4)}, bytes(4)), "the shape"),  # type: ignore[list-item]
        (file_of({"a": row([True], 0, 4)}, bytes(4)), "the shape"),
        (file_of({"a": {**row([1], 0, 4), "data_offsets": [0]}}, bytes(4)), "the offsets"),
        (file_of({"a": {**row([1], 0, 4), "data_offsets": [4, 0]}}, bytes(4)), "bytes for F32"),
        (file_of({"a": row([2], 0, 4)}, bytes(4)), "4 bytes for F32 of shape"),
        (file_of({"a": row([10**9, 10**9], 0, 4)}, bytes(4)), "4 bytes for F32"),
        (file_of({"a": row([1], 0, 4), "b": row([1], 0, 4)}, bytes(4)), "overlaps"),
        (file_of({"a": row([2], 0, 8), "b": row([1], 4, 8)}, bytes(8)), "overlaps"),
        (file_of({"a": row([1], 4, 8)}, bytes(8)), "leaves a hole"),
        (file_of({"a": row([1], 0, 4), "b": row([1], 8, 12)}, bytes(12)), "leaves a hole"),
        (file_of({"a": row([1], 0, 4)}, bytes(3)), "the file at"),
        (file_of({"a": row([1], 0, 4)}, bytes(5)), "the file at"),
        (file_of({}, bytes(5)), "the file at"),
    ],
)
def test_what_is_no_such_file_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        read(data)


def test_ten_thousand_damaged_files_are_read_or_refused() -> None:
    """One to eight bytes changed at random places: never another error, and what is read stays within the file."""
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(10_000):
        data = bytearray(GOOD)
        for _ in range(int(rng.integers(1, 9))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        data = data[: int(rng.integers(len(data) // 2, len(data) + 1))]
        try:
            tensors = read(bytes(data))
        except ModelError:
            refused += 1
            continue
        assert all(8 <= t.start <= t.end <= len(data) for t in tensors.values())
    assert refused > 5000


@settings(max_examples=30)
@given(
    st.sampled_from(["F16", "BF16", "F32", "F64"]),
    st.lists(st.sampled_from(["number", "nan", "inf", "-inf", "zero", "tiny"]), max_size=20),
)
def test_not_finite_numbers_are_counted(tmp_path_factory: pytest.TempPathFactory, dtype: str, kinds: list[str]) -> None:
    values = {"number": 1.5, "nan": np.nan, "inf": np.inf, "-inf": -np.inf, "zero": 0.0, "tiny": 1e-7}
    numbers = np.array([values[kind] for kind in kinds], np.float64)
    if dtype == "BF16":  # the upper half of a float32
        data = (numbers.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
    else:
        data = numbers.astype({"F16": np.float16, "F32": np.float32, "F64": np.float64}[dtype]).tobytes()
    path = tmp_path_factory.mktemp("numbers") / "x.safetensors"
    path.write_bytes(file_of({"a": row([len(kinds)], 0, len(data), dtype)}, data))
    expected = sum(kind in ("nan", "inf", "-inf") for kind in kinds)
    tensor = read_file(path)["a"]
    assert count_not_finite(tensor) == inspect_tensor(tensor)[1] == expected


def test_copies_hold_the_same_bytes_under_new_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "CHUNK_BYTES", 4)  # a tensor in many pieces
    data = bytes(range(16))
    (tmp_path / "a.safetensors").write_bytes(GOOD[:-16] + data)
    tensors = read_file(tmp_path / "a.safetensors")
    sums = copy_renamed([("new.b", tensors["b"]), ("new.a", tensors["a"])], tmp_path / "c.safetensors")
    copied = read_file(tmp_path / "c.safetensors")
    assert b"".join(copied["new.b"].read()) == data[8:]
    assert {name: inspect_tensor(tensor)[0] for name, tensor in copied.items()} == sums
    numpy = pytest.importorskip("safetensors.numpy")
    assert numpy.load_file(tmp_path / "c.safetensors")["new.a"].tobytes() == data[:8]


def test_files_with_an_index_are_one_checkpoint(tmp_path: Path) -> None:
    parts = {"one.safetensors": {"a": row([1], 0, 4)}, "two.safetensors": {"b": row([1], 0, 4)}}
    for name, header in parts.items():
        (tmp_path / name).write_bytes(file_of(header, b"\x00\x00\x80\x3f"))
    (tmp_path / "model.safetensors.index.json").write_text(
        index_of({name: read_file(tmp_path / name).values() for name in parts})
    )
    assert list(read_weights(tmp_path)) == ["a", "b"]
    before = fingerprint(tmp_path)
    (tmp_path / "two.safetensors").write_bytes(file_of(parts["two.safetensors"], b"\x01\x00\x80\x3f"))
    assert fingerprint(tmp_path) != before
    (tmp_path / "two.safetensors").write_bytes(file_of({"a": row([1], 0, 4)}, bytes(4)))
    with pytest.raises(ModelError, match=r"'a' stands in 'one.safetensors' and in 'two.safetensors'"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ("{", "not JSON"),
        ("[]", "no weight_map"),
        ('{"weight_map": {"a": 5}}', "no weight_map"),
        ('{"weight_map": {"a": "../x.safetensors"}}', "is not a safetensors file of this folder"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "is not a safetensors file of this folder"),
        ('{"weight_map": {"a": "x.bin"}}', "is not a safetensors file of this folder"),
        ('{"weight_map": {"a": "absent.safetensors"}}', "is not a safetensors file of this folder"),
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(tmp_path: Path, index: str, words: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ModelError, match=words):
        read_weights(tmp_path)


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no safetensors weights"):
        read_weights(tmp_path)


PICKLE = b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((f"model{suffix}", PICKLE) for suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")),
        ("deep/inside/model.BIN", PICKLE),
        ("array.npy", b"\x93NUMPY"),
        ("arrays.npz", b"PK\x03\x04"),
        ("weights.zip", b"PK\x03\x04"),
        ("weights.7z", b"7z\xbc\xaf"),
        ("model.safetensors", PICKLE + bytes(64)),
        ("model.safetensors", b"PK\x03\x04" + bytes(64)),
        ("model.safetensors", b""),
        ("tokenizer.json", None),
    ],
)
def test_what_could_run_code_is_refused_by_name_and_by_content(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:  # a tokenizer without end: sparse, it takes no room
        with open(path, "wb") as file:
            file.truncate(1 << 33)
    else:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"could run code|is not a safetensors file|more than"):
        refuse_unsafe(tmp_path)


def test_what_a_trainer_keeps_for_itself_is_let_be(tmp_path: Path) -> None:
    for name in ("optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin", "modeling.py"):
        (tmp_path / name).write_bytes(PICKLE)
    refuse_unsafe(tmp_path)


def test_a_header_of_countless_tensors_is_refused(tmp_path: Path) -> None:
    empty = {f"t{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(60_000)}
    header = json.dumps(empty).encode()
    with pytest.raises(ModelError, match="names 60000 tensors, more than 50000"):
        weights.header_of(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ModelError, match="a header of 20000000 bytes"):
        weights.header_of(struct.pack("<Q", 20_000_000) + b" " * 20_000_001)


def test_a_card_of_endless_words_is_refused(tmp_path: Path) -> None:
    card = tmp_path / CARD_NAME
    write_card(tmp_path, CheckpointCard(question="Is it? " * 3000))
    with pytest.raises(ModelError, match="question: has 21000 characters, expected 0 to 20000"):
        read_card(tmp_path)
    card.write_text('{"question": "' + "x" * (1 << 20) + '"}')
    with pytest.raises(ModelError, match="more than 1048576 bytes"):
        read_card(tmp_path)
    card.unlink()
    os.mkfifo(card)
    with pytest.raises(ModelError):
        read_card(tmp_path)
