"""A checkpoint of VideoLLaMA 3's own code (``videollama3_qwen2``) into the class that transformers has.

Tensors are renamed, not changed: their bytes are streamed from file to file, a piece at a time, and compared
afterwards. Nothing of the checkpoint is run: its Python files are not opened, pickles are refused. The result appears
under its name only when it is whole and verified.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from deeptrace.answer import QUESTIONS
from deeptrace.errors import FileError, JsonError, ModelError
from deeptrace.files import loads, read_bytes, write_text
from deeptrace.models.base import Sampling
from deeptrace.models.hf.checkpoint import (
    MAX_JSON_BYTES,
    CheckpointCard,
    FrameTimes,
    check_size,
    read_card,
    read_config,
    training_state,
    write_card,
)
from deeptrace.models.hf.families.videollama3 import VideoLlama3
from deeptrace.models.hf.library import load_errors, load_transformers, no_bars, one_line, quiet
from deeptrace.models.hf.native import SOURCE_TYPE, USED_KEYS, ConversionPlan, match, native_config, native_shapes
from deeptrace.models.hf.staging import staged
from deeptrace.models.hf.vetted import vetted_tokenizer
from deeptrace.models.hf.weights import (
    INDEX_NAME,
    Tensor,
    copy_renamed,
    index_of,
    inspect_tensor,
    read_file,
    read_weights,
    shard_files,
)
from deeptrace.records import Frames
from deeptrace.schema import check

TrainedFor: TypeAlias = Literal["rewarddata", "general"]

Progress = Callable[[int, int], None]

MAX_FRAMES: Final = 180
"""Of a video, where nothing says how many: what the paper's model was shown."""


@dataclass(frozen=True)
class Converted:
    """What was written: the folder, how many tensors and bytes, and what of the source was not taken over.

    ``left_out`` are keys of its config.json, ``skipped`` files of a trainer beside its weights.
    """

    folder: Path
    tensors: int
    nbytes: int
    left_out: tuple[str, ...]
    card: CheckpointCard
    skipped: tuple[str, ...] = ()


def plan(src: str | os.PathLike[str]) -> ConversionPlan:
    """Match the tensors of a checkpoint folder, from its headers alone.

    Raises:
        ModelError: it is no such checkpoint, or its files are damaged or could run code.
    """
    folder = Path(src)
    config = read_config(folder)
    tokenizer = _tokenizer(folder)
    image, video = tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|video_pad|>"])
    if image is None or video is None or image == video:
        raise ModelError("the tokenizer has no <|image_pad|> and <|video_pad|>: it is not one of VideoLLaMA 3.")
    native = native_config(config, image_token_id=image, video_token_id=video)
    tensors = read_weights(folder)
    matched = match({name: tensor.shape for name, tensor in tensors.items()}, native)
    _check_tied(tensors, matched.tied)
    left_out = tuple(sorted(set(config) - USED_KEYS))
    return ConversionPlan(
        matched.names, matched.tied, matched.missing, matched.extra, matched.wrong_shape, native, left_out
    )  # fmt: skip


def _check_tied(tensors: Mapping[str, Tensor], tied: tuple[str, ...]) -> None:
    for name in tied:
        embedding = tensors.get("model.embed_tokens.weight")
        if embedding is None or inspect_tensor(tensors[name])[0] != inspect_tensor(embedding)[0]:
            raise ModelError(f"tie_word_embeddings is true, yet {name!r} is not the embedding: one of them is wrong.")


# ── the conversion ──────────────────────────────────────────────────────────────────────────────────────────────────


def convert(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    *,
    trained_for: TrainedFor | None = None,
    frame_times: FrameTimes = "as-trained",
    system_prompt: str | None = None,
    fps: float | None = None,
    max_frames: int | None = None,
    progress: Progress | None = None,
) -> Converted:
    """Convert a ``videollama3_qwen2`` folder into a new folder ``dst``, and verify what was written.

    ``trained_for`` says what it will be asked: "rewarddata" the paper's question, answered in source pixels at 2 frames
    a second; "general" the zero-shot question, answered in 0 to 1000 at 1 frame a second. Weights do not tell which:
    None takes what a ``deeptrace.json`` in ``src`` says, and is refused where there is none. What that file says of
    sampling, size and system prompt is taken over in any case, before what config.json says. ``system_prompt`` takes
    its place ("": none, as in the original training code); where nobody says one it is that of the released inference
    example. ``fps`` (above 0, at most 1000) and ``max_frames`` come before both files; where nobody says them they are
    those of ``trained_for``, and 180. ``frame_times`` is kept in ``deeptrace.json``, see `CheckpointCard`. ``progress``
    is called with bytes done and bytes in all.

    Raises:
        ModelError: nothing says what it was trained for; a tensor is missing, left over, of another shape or not
            finite; a rate or a number of frames is none; the source is damaged, could run code, or is of another kind;
            ``dst`` is there already; or what was written is not what was read.
        FileError: the system refused to write.
    """
    source, target = Path(src), Path(dst)
    if target.exists():
        raise ModelError(f"{target.name!r} is there already.")
    for key, value in (("fps", fps), ("max_frames", max_frames)):
        if value is not None and (problem := _problem(key, value)):
            raise ModelError(f"{key}: {problem}.")
    planned = plan(source)
    if not planned.fits:
        raise ModelError(f"{source.name!r} does not fit the native class: {_misfits(planned)}. Nothing was written.")
    card = _card(source, trained_for, frame_times, fps, max_frames, system_prompt)
    total = sum(file.stat().st_size for file in shard_files(source))
    with staged(target, "converting", nbytes=total) as work:
        nbytes = _write_weights(source, work, planned, progress)
        _write_rest(source, work, planned, card)
        _try_encoding(work)
    return Converted(target, len(planned.names), nbytes, planned.left_out, card, training_state(source))


def _misfits(planned: ConversionPlan) -> str:
    kinds = {"missing": planned.missing, "left over": planned.extra, "of another shape": planned.wrong_shape}
    return "; ".join(
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in kinds.items()
        if names
    )


def _write_weights(source: Path, work: Path, planned: ConversionPlan, progress: Progress | None) -> int:
    """One file for each of the source's, tensors in the same order. Then each is read back. Bytes of all tensors."""
    files = shard_files(source)
    written: dict[str, list[Tensor]] = {}
    total = sum(file.stat().st_size for file in files)
    done, bad = 0, []
    for number, file in enumerate(files, 1):
        chosen = [(planned.names[name], tensor) for name, tensor in read_file(file).items() if name in planned.names]
        if not chosen:
            continue
        name = "model.safetensors" if len(files) == 1 else f"model-{number:05d}-of-{len(files):05d}.safetensors"
        sums = copy_renamed(chosen, work / name)
        back = read_file(work / name)
        for native, tensor in back.items():
            digest, not_finite = inspect_tensor(tensor)
            if digest != sums[native]:
                raise ModelError(f"{native!r} was not written as it was read: the disk or the memory is at fault.")
            if not_finite:
                bad.append(f"{native} ({not_finite})")
        written[name] = list(back.values())
        done += file.stat().st_size
        if progress is not None:
            progress(done, total)
    if bad:
        raise ModelError(f"tensors with NaN or infinity: {', '.join(bad[:5])}. Nothing was kept.")
    there = {tensor.name: tensor.shape for tensors in written.values() for tensor in tensors}
    if there != native_shapes(planned.config):
        raise ModelError("what was written does not fill the native model.")
    if len(written) > 1:
        write_text(work / INDEX_NAME, index_of(written))
    return sum(tensor.nbytes for tensors in written.values() for tensor in tensors)


def _write_rest(source: Path, work: Path, planned: ConversionPlan, card: CheckpointCard) -> None:
    transformers = load_transformers("converting a model")
    tokenizer = _tokenizer(source)
    preprocessing = _optional_json(source / "preprocessor_config.json")
    config = read_config(source)
    patch = planned.config.vision_config.patch_size
    pixels = (2 * patch) ** 2  # of one token: two by two patches
    tokens = [preprocessing.get(name, default) for name, default in (("min_tokens", 16), ("max_tokens", 16384))]
    if not all(type(count) is int and 0 < count < 1 << 20 for count in tokens):
        raise ModelError(f"preprocessor_config.json: min_tokens and max_tokens are {tokens!r}, expected whole numbers.")
    size = check_size({"shortest_edge": tokens[0] * pixels, "longest_edge": tokens[1] * pixels})
    common = {
        "size": size,
        "patch_size": patch,
        "image_mean": preprocessing.get("image_mean", [0.5, 0.5, 0.5]),
        "image_std": preprocessing.get("image_std", [0.5, 0.5, 0.5]),
        "rescale_factor": preprocessing.get("rescale_factor", 1 / 255),
    }
    compression = config.get("use_token_compression")
    try:
        processor = transformers.VideoLlama3Processor(
            transformers.VideoLlama3ImageProcessor(**common),
            tokenizer,
            transformers.VideoLlama3VideoProcessor(
                **common, use_token_compression=True if compression is None else bool(compression)
            ),
        )
    except load_errors() as error:
        raise ModelError(f"preprocessor_config.json does not describe such a processor: {one_line(error)}") from None
    with no_bars(), quiet():
        processor.save_pretrained(work)
        planned.config.save_pretrained(work)
        transformers.GenerationConfig(
            do_sample=False,
            eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
            pad_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        ).save_pretrained(work)
    write_card(work, card)


def _tokenizer(folder: Path) -> Any:
    """The tokenizer beside a checkpoint."""
    transformers = load_transformers("converting a model")
    with vetted_tokenizer(folder) as alone, quiet():
        try:
            return transformers.AutoTokenizer.from_pretrained(alone, trust_remote_code=False, local_files_only=True)
        except load_errors() as error:
            raise ModelError(f"the tokenizer of {folder.name!r} cannot be loaded: {one_line(error)}") from None


def _optional_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        value = loads(read_bytes(path, limit=MAX_JSON_BYTES))
    except (FileError, JsonError) as error:
        raise ModelError(f"{path.name}: {error}.") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path.name} holds no object.")
    return value


def _card(  # noqa: PLR0917 - the options of `convert`
    source: Path,
    trained_for: TrainedFor | None,
    frame_times: FrameTimes,
    fps: float | None,
    max_frames: int | None,
    system_prompt: str | None,
) -> CheckpointCard:
    stated = read_card(source)
    if trained_for is None and stated is None:
        raise ModelError(
            f"nothing in {source.name!r} says what it was trained to be asked, and weights do not tell. Say which "
            "(--trained-for): 'rewarddata' is the paper's own model or one fine-tuned like it, which answers in pixels "
            "of the source; 'general' is a base model, which answers in 0 to 1000."
        )
    paper = trained_for == "rewarddata"
    card = CheckpointCard(
        format="trained" if paper else "zero-shot",
        question=QUESTIONS["trained"] if paper else None,
        space="source" if paper else "per-mille",
        sampling=Sampling(fps=2.0 if paper else 1.0, max_frames=MAX_FRAMES),
    )
    own = stated or CheckpointCard()
    if trained_for is None:
        card = replace(own, space=own.space or card.space, sampling=card.sampling)
    assert card.sampling is not None
    said = own.sampling
    said_fps, said_frames = (None, None) if said is None else (said.fps, said.max_frames)
    released = VideoLlama3.released_system_prompt if own.system_prompt is None else own.system_prompt
    return replace(
        card,
        sampling=Sampling(
            fps=_first(fps, said_fps) or _stated_number(source, "fps") or card.sampling.fps,
            max_frames=int(_first(max_frames, said_frames) or _stated_number(source, "max_frames") or MAX_FRAMES),
            short_side=None if said is None else said.short_side,
        ),
        size=own.size,
        system_prompt=released if system_prompt is None else system_prompt,
        frame_times=frame_times,
        extra={**own.extra, "converted_from": SOURCE_TYPE},
    )


def _first(option: float | None, said: float | None) -> float | None:
    return said if option is None else float(option)


def _stated_number(source: Path, key: Literal["fps", "max_frames"]) -> float | None:
    """What the source's own configuration says of its sampling, in the last of its files that says it.

    Raises:
        ModelError: it says what no sampling can have.
    """
    found: float | None = None
    for name in ("config.json", "preprocessor_config.json", "processor_config.json"):
        value = _optional_json(source / name).get(key)
        if value is None:
            continue
        if problem := _problem(key, value):
            raise ModelError(f"{name}: {key}: {problem}. Say what it was trained with (--{key.replace('_', '-')}).")
        found = float(value)
    return found


def _problem(key: str, value: object) -> str | None:
    """What is wrong with a number of a `Sampling`; None where nothing is."""
    _, problems = check(Sampling, {"fps": 1.0, key: value})
    return problems[0].removeprefix(f"{key}: ") if problems else None


def _try_encoding(folder: Path) -> None:
    """The processor and the tokenizer that were written take a clip and a question."""
    from deeptrace.models.hf.families import family_of

    family = family_of(folder)
    images = np.zeros((2, 56, 56, 3), np.uint8)
    images[1, 28:] = 255
    encoded = family.encode(Frames.from_array(images, 1.0), "Is it fake?")
    if int((encoded.inputs["input_ids"] == family.processor.video_token_id).sum()) < 1:
        raise ModelError("the processor that was written shows no frame to the model.")
