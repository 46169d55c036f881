"""A checkpoint folder as files: `deeptrace.json` beside the weights, config.json, and what must not be in it.

`CheckpointCard` says what a checkpoint was trained to be asked and how: question, answer format, coordinate space,
frame sampling. Training writes it, models read it; there is no other home for these. Knows nothing of tensors.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from deeptrace.answer import check_format
from deeptrace.answer.space import Kind
from deeptrace.errors import AnswerError, FileError, JsonError, ModelError
from deeptrace.files import dumps, loads, read_bytes, write_text
from deeptrace.models.base import Sampling
from deeptrace.schema import Length, check

CARD_NAME: Final = "deeptrace.json"
SCHEMA: Final = "deeptrace.checkpoint"
SCHEMA_VERSION: Final = 1

SpaceKind: TypeAlias = Kind
FrameTimes: TypeAlias = Literal["true", "as-trained"]

MAX_JSON_BYTES: Final = 64 << 20
"""Tokenizers of 150,000 words take 11 MB; anything much larger is not what we load."""

MAX_CARD_BYTES: Final = 1 << 20
MAX_QUESTION_CHARACTERS: Final = 20_000
"""Of a question, and of a system prompt: the longest of ours has 1,200."""

Question: TypeAlias = Annotated[str, Length(high=MAX_QUESTION_CHARACTERS)]

UNSAFE_SUFFIXES: Final = frozenset(
    {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".dill", ".h5", ".zip", ".7z"}
)
"""What can run code when it is loaded, or can hide what does. A folder with one of these is refused. Python files that
lie beside a checkpoint are let be: they are never run."""


@dataclass(frozen=True)
class CheckpointCard:
    """What a checkpoint was trained to be asked and how. A field that is None: as the family's released models.

    ``space`` is the kind of coordinates in its answers. ``size`` bounds the pixels of its input
    (``shortest_edge``, ``longest_edge``), as its processor counts them. ``system_prompt``: "" means none.
    ``frame_times``: "as-trained" shows frames as the code did that a converted checkpoint was trained with (label
    ``k/fps`` on the frame at ``(k+1)/fps - 1/source fps``), "true" labels each frame with its own time.
    ``extra`` is kept as it is: base model, data, recipe, licences.
    """

    format: str = "zero-shot"
    format_version: int = 1
    question: Question | None = None
    space: SpaceKind | None = None
    sampling: Sampling | None = None
    size: Mapping[str, int] | None = None
    system_prompt: Question | None = None
    frame_times: FrameTimes = "true"
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_format(self.format, self.format_version)
        if self.space is not None and self.space not in get_args(SpaceKind):
            raise AnswerError(f"space: {self.space!r} is not one of {', '.join(get_args(SpaceKind))}")
        if self.frame_times not in get_args(FrameTimes):
            raise ModelError(f"frame_times: {self.frame_times!r} is not one of {', '.join(get_args(FrameTimes))}.")
        if self.size is not None:
            object.__setattr__(self, "size", check_size(self.size))


def check_size(size: Mapping[str, int]) -> dict[str, int]:
    """The bounds of a video's pixels, when they are two whole numbers with ``0 < shortest_edge <= longest_edge``.

    Raises:
        ModelError: anything else.
    """
    low, high = size.get("shortest_edge"), size.get("longest_edge")
    good = set(size) == {"shortest_edge", "longest_edge"} and all(
        isinstance(value, int) and not isinstance(value, bool) for value in (low, high)
    )
    if not good or not 0 < int(low or 0) <= int(high or 0):
        raise ModelError(f"size: {dict(size)!r} is not {{'shortest_edge': pixels, 'longest_edge': pixels}}.")
    return {"shortest_edge": size["shortest_edge"], "longest_edge": size["longest_edge"]}


# ── deeptrace.json ──────────────────────────────────────────────────────────────────────────────────────────────────


def write_card(folder: str | os.PathLike[str], card: CheckpointCard) -> None:
    """Write ``deeptrace.json`` into a checkpoint folder, atomically.

    Raises:
        FileError: the system refused.
        JsonError: ``extra`` holds what JSON cannot.
    """
    row: dict[str, Any] = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION}
    row.update({field.name: getattr(card, field.name) for field in fields(card)})
    row["sampling"] = None if card.sampling is None else asdict(card.sampling)
    row["size"] = None if card.size is None else dict(card.size)
    row["extra"] = dict(card.extra)
    write_text(Path(folder) / CARD_NAME, dumps(row, indent=1) + "\n")


def read_card(folder: str | os.PathLike[str]) -> CheckpointCard | None:
    """The card of a checkpoint folder; None where there is none (a checkpoint that was not trained here).

    Raises:
        ModelError: the file is there and is not a card that this version reads.
        AnswerError: its answer format is unknown here, or of another version.
    """
    path = Path(folder) / CARD_NAME
    if not path.exists():
        return None
    row = _read_object(path, limit=MAX_CARD_BYTES)
    if row.pop("schema", None) != SCHEMA or row.pop("schema_version", None) != SCHEMA_VERSION:
        raise ModelError(f"{CARD_NAME} is not a '{SCHEMA}' of version {SCHEMA_VERSION}.")
    if row.get("extra") is None:
        row.pop("extra", None)
    card, problems = check(CheckpointCard, row, name=CARD_NAME)
    if card is None:
        raise ModelError("\n  ".join(problems))
    return card


# ── the folder ──────────────────────────────────────────────────────────────────────────────────────────────────────


def read_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """``config.json`` of a checkpoint folder that holds nothing unsafe (see `refuse_unsafe`).

    ``auto_map`` (code that comes with a checkpoint) is left out: it is never run.

    Raises:
        ModelError: no such folder, no or a bad config.json, or files that could run code.
    """
    path = Path(folder)
    if not path.is_dir():
        raise ModelError(f"{path.name!r} is not a folder. A checkpoint is a folder with config.json and safetensors.")
    refuse_unsafe(path)
    config = _read_object(path / "config.json", limit=MAX_CARD_BYTES)
    config.pop("auto_map", None)
    return config


def refuse_unsafe(folder: Path) -> None:
    """Make sure that a folder holds no pickle, no array of objects, no archive under any name, and no endless JSON.

    Raises:
        ModelError: names the first such file, and what to do.
    """
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if path.suffix.lower() in UNSAFE_SUFFIXES and _used_when_loading(inner):
            raise ModelError(
                f"{str(inner)!r} could run code when it is loaded; only safetensors and JSON are read. "
                "Use the checkpoint's safetensors files without it, in a folder of their own."
            )
        if path.suffix == ".safetensors" and path.is_file() and _used_when_loading(inner):
            _check_safetensors_start(path)
        if path.suffix == ".json" and path.is_file() and path.stat().st_size > MAX_JSON_BYTES:
            raise ModelError(f"{str(inner)!r} has {path.stat().st_size} bytes, more than {MAX_JSON_BYTES}.")


# What trainers leave beside the weights of a checkpoint that can be gone on with: transformers' Trainer, then DeepSpeed
# and torch's distributed checkpoints, which have a folder for it.
_STATE_FILES: Final = frozenset({
    "optimizer.pt", "optimizer.bin", "optimizer.safetensors", "scheduler.pt", "scheduler.bin", "scaler.pt",
    "training_args.bin",
})  # fmt: skip
_STATE_FOLDERS: Final = re.compile(r"global_step\d+|optimizer_\d+|pytorch_model_fsdp_\d+")


def training_state(folder: str | os.PathLike[str]) -> tuple[str, ...]:
    """The files of a checkpoint folder that are a trainer's own state (its optimiser, say), by their names in it.

    They are never opened, neither by inference nor by conversion.
    """
    path = Path(folder)
    inner = (file.relative_to(path) for file in sorted(path.rglob("*")) if file.is_file())
    return tuple(str(file) for file in inner if not _used_when_loading(file))


def _used_when_loading(inner: Path) -> bool:
    name = inner.name
    in_state = any(_STATE_FOLDERS.fullmatch(part) for part in inner.parts[:-1])
    return not (in_state or name in _STATE_FILES or name.startswith("rng_state"))


def _check_safetensors_start(path: Path) -> None:
    """A safetensors file begins with the length of its JSON header; a zip or a pickle of that name does not."""
    with open(path, "rb") as file:
        start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    if len(start) < 9 or start[8:] != b"{" or not 2 <= length <= min(100_000_000, path.stat().st_size - 8):
        raise ModelError(f"{path.name!r} is not a safetensors file, whatever its name says. It is not opened.")


def _read_object(path: Path, *, limit: int = MAX_JSON_BYTES) -> dict[str, Any]:
    try:
        value = loads(read_bytes(path, limit=limit))
    except FileError as error:
        raise ModelError(f"{error}.") from None
    except JsonError as error:
        raise ModelError(f"{path.name!r}: {error}.") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path.name!r} holds no object.")
    return value
