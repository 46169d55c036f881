"""Frames and a question in, a model's inputs out: what the families share. Used by inference and training alike.

`Family.encode` is a pure function of its arguments and of the checkpoint folder: no weights, no device, no randomness,
so that it runs in the workers of a data loader. The chat template of a checkpoint is never run: a template is a
program, and each family's prompt is written out in its own file here, frozen by tests.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias

import numpy as np

from deeptrace.answer import Space, label_offset
from deeptrace.errors import FileError, JsonError, ModelError
from deeptrace.files import loads, read_bytes
from deeptrace.models.base import Sampling
from deeptrace.models.hf.checkpoint import MAX_JSON_BYTES, CheckpointCard, SpaceKind, check_size
from deeptrace.models.hf.families.generating import Generated, LabelMass, next_logprobs, write_answers
from deeptrace.models.hf.families.placement import LOADING, Dtype, Quantization, placement
from deeptrace.models.hf.library import load_errors, load_transformers, no_bars, one_line
from deeptrace.models.hf.vetted import check_count, vetted
from deeptrace.records import Frames

if TYPE_CHECKING:
    import torch

IGNORED: Final = -100
"""The label of a token that is not learned from."""

VIDEO_PLACEHOLDER: Final = "<video>"
"""Where the frames go in a question; without it they come first."""

Part: TypeAlias = Literal["vision", "projector", "language"]

# How far the mean step between frames may lie from the sampling's own and still be taken for it: frames are on screen
# up to one source frame before the moment asked for, which is 1/12 of a second at 12 fps.
_STEP_TOLERANCE: Final = 0.2


@dataclass(frozen=True)
class ChatFrame:
    """How a family's tokenizer frames turns, and the control tokens by which it does.

    ``system`` and ``user`` are written with ``{text}``; ``assistant`` begins the answer, ``end`` ends it. ``pad`` fills
    the shorter examples of a batch. ``image`` and ``video`` stand for pixels: no answer may hold one.
    """

    system: str
    user: str
    assistant: str
    end: str
    pad: str
    image: str
    video: str
    marks: tuple[str, ...] = ()
    """Other control tokens that the frame is written with."""
    begin: str = ""
    """What stands before all turns."""
    other_ends: tuple[str, ...] = ()
    """Tokens with which released models end an answer besides ``end``, which alone is learned."""


CHATML: Final = ChatFrame(
    system="<|im_start|>system\n{text}<|im_end|>\n",
    user="<|im_start|>user\n{text}<|im_end|>\n",
    assistant="<|im_start|>assistant\n",
    end="<|im_end|>",
    pad="<|endoftext|>",
    image="<|image_pad|>",
    video="<|video_pad|>",
    marks=("<|im_start|>",),
)
"""Of the language models from Qwen 2 on, which the families here are built around."""


@dataclass(frozen=True)
class KnownClasses:
    """What a checkpoint of a family may name as its own: everything else in its configuration is refused.

    ``text`` and ``vision`` are the ``model_type`` of its two parts, the others names of classes in transformers, old
    ones too. ``part_keys`` are settings of its parts that no other family has, ``top_keys`` those that stand outside
    of the parts: numbers, switches and the words that `deeptrace.models.hf.vetted` knows.
    """

    text: frozenset[str]
    vision: frozenset[str]
    processors: frozenset[str]
    image_processors: frozenset[str]
    video_processors: frozenset[str]
    tokenizers: frozenset[str] = frozenset(
        {"Qwen2Tokenizer", "Qwen2TokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"}
    )
    part_keys: frozenset[str] = frozenset()
    top_keys: frozenset[str] = frozenset()


@dataclass(frozen=True)
class TinySizes:
    """How large the parts of a tiny model are: see `deeptrace.testing.tiny_model`."""

    hidden_size: int
    num_layers: int
    vision_hidden_size: int
    vision_layers: int
    initializer_range: float

    def text(self) -> dict[str, Any]:
        """The settings of the language part that its classes share."""
        heads = self.hidden_size // 32
        return {
            "hidden_size": self.hidden_size,
            "intermediate_size": 2 * self.hidden_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": heads,
            "num_key_value_heads": max(1, heads // 2) if heads % 2 == 0 else heads,
            "max_position_embeddings": 8192,
            "initializer_range": self.initializer_range,
            "rms_norm_eps": 1e-6,
        }


@dataclass(frozen=True)
class VisionSize:
    """What a video becomes: the grid of patches, the resized frame in pixels, and its tokens in the prompt at most."""

    grid_thw: tuple[int, int, int]
    resized_hw: tuple[int, int]
    tokens: int


@dataclass(frozen=True)
class Encoded:
    """One example as the model takes it.

    ``inputs`` are the tensors of a batch of one: ``input_ids`` and ``attention_mask`` ``(1, L)``,
    ``pixel_values_videos`` ``(patches, values)``, ``video_grid_thw`` ``(1, 3)``, and what else the family needs.
    ``labels`` ``(1, L)`` int64 are `IGNORED` everywhere but on the answer and the token that ends it; None without an
    answer.
    """

    inputs: Mapping[str, torch.Tensor]
    labels: torch.Tensor | None
    space: Space  # of the coordinates in the answer
    size: VisionSize
    draw: tuple[float, int] | None = None  # temperature and seed of an answer that is sampled


class Family(ABC):
    """A family of video language models, bound to the processor and the card of one checkpoint."""

    name: ClassVar[str]
    model_type: ClassVar[str]
    """Its name in ``config.json``."""
    model_class: ClassVar[str]
    """Its class in transformers."""
    classes: ClassVar[KnownClasses]
    chat: ClassVar[ChatFrame] = CHATML
    released_size: ClassVar[dict[str, int]]
    """Bounds of a video's pixels that the released models were trained and are served with."""
    released_space: ClassVar[SpaceKind]
    released_sampling: ClassVar[Sampling]
    released_system_prompt: ClassVar[str]
    parts: ClassVar[dict[Part, tuple[str, ...]]]
    """Beginnings of parameter names, part by part; see `part_of`."""
    merge: ClassVar[int] = 2
    """Patches a side that become one token."""
    tells_time: ClassVar[bool] = True
    """Whether anything but the question's words says when a frame was shown."""
    answers_in_tokens: ClassVar[bool] = False
    """Whether special tokens say something in an answer (where reasoning ends, say), so that its text keeps them."""
    processor_counts: ClassVar[tuple[str, ...]] = ()
    """Whole numbers from 1 on that the processor must have; see `Family.check_counts`."""
    tokenizer_tokens: ClassVar[Mapping[str, str]] = {}
    """Special tokens besides Qwen's, by the names under which the processor looks for them at its tokenizer."""

    def __init__(
        self, processor: Any, card: CheckpointCard | None = None, *, size: Mapping[str, int] | None = None
    ) -> None:
        self.card = card or CheckpointCard()
        self.processor = processor
        self.check_counts()
        self.sampling: Sampling = self.card.sampling or self.released_sampling
        self.space_kind: SpaceKind = self.card.space or self.released_space
        card_prompt = self.card.system_prompt
        self.system_prompt: str = self.released_system_prompt if card_prompt is None else card_prompt
        self.size: dict[str, int] = check_size(size or self.card.size or self.released_size)
        self._set_up()
        self._refuse_special(self.system_prompt, "the system prompt")

    def check_counts(self) -> None:
        """Make sure that the processor has the numbers that tokens are counted by.

        Raises:
            ModelError: one is missing, or is no whole number from 1 to 65536.
        """
        video = getattr(self.processor, "video_processor", None)
        needed = [(self.processor, name) for name in self.processor_counts]
        stated = [(video, name) for name in ("patch_size", "temporal_patch_size", "merge_size")]
        for owner, name in [*needed, *((one, name) for one, name in stated if hasattr(one, name))]:
            value = getattr(owner, name, None)
            if value is None and owner is self.processor:
                raise ModelError(f"processor_config.json: {name} is missing; the {self.name} family needs it.")
            check_count(value, name, "the processor's settings", high=1 << 16)

    def set_system_prompt(self, words: str) -> None:
        """Ask with other words in the system's turn; "" leaves the turn out.

        Raises:
            ModelError: they hold a control token of the tokenizer.
        """
        self._refuse_special(words, "the system prompt")
        self.system_prompt = words

    def _set_up(self) -> None:
        from transformers.image_utils import SizeDict

        video = self.processor.video_processor
        video.size = SizeDict(**self.processor_size())
        video.do_sample_frames = False  # frames are chosen by our reader, which knows their times
        if hasattr(video, "cap_pixels_per_frame"):
            video.cap_pixels_per_frame = True  # as the models' own tools do
        tokenizer = self.processor.tokenizer
        self._special = sorted(tokenizer.get_added_vocab(), key=len, reverse=True)
        for name in (*self.chat.marks, self.chat.end, *self.chat.other_ends, self.chat.pad, self.chat.video):
            if name not in self._special:
                raise ModelError(f"the tokenizer has no token {name!r}: it is not one of the {self.name} family.")
        self.end_id, self.pad_id = tokenizer.convert_tokens_to_ids([self.chat.end, self.chat.pad])
        self.end_ids: tuple[int, ...] = (self.end_id, *tokenizer.convert_tokens_to_ids(list(self.chat.other_ends)))
        pixels = [token for token in (self.chat.image, self.chat.video) if token in self._special]
        self.pixel_ids: tuple[int, ...] = tuple(tokenizer.convert_tokens_to_ids(pixels))

    @classmethod
    def from_folder(
        cls, folder: str | os.PathLike[str], *, card: CheckpointCard | None, size: Mapping[str, int] | None
    ) -> Family:
        """The family with the processor of a checkpoint folder. See `deeptrace.models.hf.families.family_of`."""
        transformers = load_transformers("a language model")
        with vetted(folder) as private:
            stated = _video_size_in(private.folder)
            try:
                processor = transformers.AutoProcessor.from_pretrained(
                    private.folder, trust_remote_code=False, local_files_only=True
                )
            except load_errors() as error:
                words = f"the processor of {Path(folder).name!r} cannot be loaded: {one_line(error)}"
                raise ModelError(words) from None
        if getattr(processor, "video_processor", None) is None or getattr(processor, "tokenizer", None) is None:
            raise ModelError(f"{Path(folder).name!r} has no video processor or no tokenizer beside the weights.")
        own = size or (card.size if card is not None else None) or stated
        return cls(processor, card, size=own)

    def processor_size(self) -> dict[str, int]:
        """The size as the family's processor takes it: bounds of the pixels, unless the family says otherwise."""
        return self.size

    def square_side(self) -> int:
        """The side in pixels, of a family that makes every frame a square of one size.

        Raises:
            ModelError: ``size`` is no such square.
        """
        side = math.isqrt(self.size["longest_edge"])
        if self.size != {"shortest_edge": side * side, "longest_edge": side * side}:
            raise ModelError(
                f"size: the {self.name} family makes every frame a square of one size, so both edges hold its pixels "
                f"({side * side}, say), not {self.size['shortest_edge']} and {self.size['longest_edge']}."
            )
        return side

    # ── the prompt ──

    @property
    def pixel_token(self) -> str:
        """The token that stands for pixels in the text that the model reads."""
        return self.chat.video

    @classmethod
    @abstractmethod
    def tiny(cls, sizes: TinySizes, tokenizer: Any) -> tuple[Any, Any]:
        """The configuration and the processor of a tiny model of the family's real class."""

    @abstractmethod
    def render_video(self) -> str:
        """What stands for the video in the text before the processor writes its tokens out."""

    def time_text(self, seconds: float) -> str:
        """What the processor writes around the tokens of a step at ``seconds``; "" where it writes nothing."""
        return ""

    def time_tokens(self) -> int:
        """How many tokens that is, for a time below 10 seconds."""
        return len(self.tokenize(self.time_text(0.5)))

    def render_prompt(self, question: str) -> str:
        """The conversation up to where the answer begins, the video as `render_video` says.

        Raises:
            ModelError: the question holds one of the tokenizer's special tokens, or more than one ``<video>``.
        """
        before, placeholder, after = question.partition(VIDEO_PLACEHOLDER)
        if VIDEO_PLACEHOLDER in after:
            raise ModelError(f"the question names {VIDEO_PLACEHOLDER} more than once.")
        for words in (before, after):  # the placeholder is a control token of some families
            self._refuse_special(words, "the question")
        if not placeholder:
            before, after = "", question
        system = self.chat.system.replace("{text}", self.system_prompt) if self.system_prompt else ""
        user = self.chat.user.replace("{text}", f"{before.strip()}{self.render_video()}{after.strip()}")
        return f"{self.chat.begin}{system}{user}{self.chat.assistant}"

    def _refuse_special(self, text: str, what: str) -> None:
        for token in self._special:
            if token in text:
                raise ModelError(f"{what} holds {token!r}, which is a control token of this model.")

    # ── encoding ──

    def encode(self, frames: Frames, question: str, answer: str | None = None, *, begun: str = "") -> Encoded:
        """The model's inputs for a question about frames, and with ``answer`` the labels to learn it: see `Encoded`.

        ``frames`` are ``(T, H, W, 3)`` uint8 RGB, with times in seconds.

        ``begun`` is the beginning of an answer that is not yet there: what is generated goes on behind it.

        The answer is tokenized by itself and put behind the prompt's tokens with the token that ends it: what is
        learned is to the token what would have been generated.

        Raises:
            ModelError: the question or the answer holds a control token, or the frames do not fit the processor.
        """
        import torch

        text = self.render_prompt(question)
        frames = self._with_enough_frames(frames)
        images = np.require(frames.images, requirements=["C", "W"])  # a copy where torch would refuse or warn
        try:
            out = self.processor(
                text=[text],
                videos=[torch.from_numpy(images).permute(0, 3, 1, 2)],  # (T, 3, H, W)
                video_metadata=[self._metadata(frames)],
                return_tensors="pt",
            )
        except ValueError as error:
            height, width = frames.images.shape[1:3]
            raise ModelError(f"frames of {width} x {height} do not fit the processor: {one_line(error)}") from None
        inputs = {name: value for name, value in out.items() if isinstance(value, torch.Tensor)}
        size = self.shown_size(inputs, len(frames), *frames.images.shape[1:3])
        ids = inputs["input_ids"]
        labels = None
        if answer is not None or begun:
            self._refuse_special(answer or begun, "the answer")
            tokens = self.tokenize(begun) if answer is None else [*self.tokenize(answer), self.end_id]
            labels = None if answer is None else _labels_behind(ids, tokens)
            inputs = _with_tokens(inputs, tokens)
        return Encoded(inputs, labels, self.space(frames), size)

    def answered(self, prompt: Encoded, tokens: Sequence[int]) -> Encoded:
        """A prompt with an answer of these tokens behind it, to be learned as they are.

        Unlike the text of `encode` they may be control tokens: a model writes some in its own answers.
        """
        labels = _labels_behind(prompt.inputs["input_ids"], tokens)
        return replace(prompt, inputs=_with_tokens(prompt.inputs, tokens), labels=labels)

    def tokenize(self, text: str) -> list[int]:
        """The tokens of plain text, without any that begin or end a sequence."""
        return list(self.processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of generated tokens, up to the token that ends an answer."""
        answer_ids = list(ids[: self.end_of(ids)])
        return str(self.processor.tokenizer.decode(answer_ids, skip_special_tokens=not self.answers_in_tokens))

    def end_of(self, ids: Sequence[int]) -> int | None:
        """Where the token stands that ends an answer; None where none does."""
        return next((position for position, id in enumerate(ids) if id in self.end_ids), None)

    def text_of(self, encoded: Encoded) -> str:
        """The whole text of an example as the model reads it, every token written out."""
        return str(self.processor.tokenizer.decode(encoded.inputs["input_ids"][0]))

    def collate(self, batch: Sequence[Encoded], *, pad_left: bool = False) -> dict[str, torch.Tensor]:
        """One batch of several examples, the shorter ones padded: on the left to generate, on the right to train.

        Token ids, masks and labels are ``(B, L)`` int64, L of the longest; pixels and grids of all videos stand one
        behind the other. ``labels`` are there when every example has them.
        """
        import torch

        length = max(one.inputs["input_ids"].shape[1] for one in batch)

        def padded(tensor: torch.Tensor, value: int) -> torch.Tensor:
            missing = length - tensor.shape[1]
            return torch.nn.functional.pad(tensor, (missing, 0) if pad_left else (0, missing), value=value)

        fill = {"input_ids": self.pad_id, "attention_mask": 0, "mm_token_type_ids": 0}
        result = {
            name: torch.cat(
                [padded(one.inputs[name], fill[name]) if name in fill else one.inputs[name] for one in batch]
            )
            for name in batch[0].inputs
        }
        labels = [one.labels for one in batch if one.labels is not None]
        if len(labels) == len(batch):
            result["labels"] = torch.cat([padded(one, IGNORED) for one in labels])
        return result

    # ── memory ──

    @property
    def patch_values(self) -> int:
        """How many numbers the vision part is given for each patch: pixels of ``temporal_patch_size`` frames, RGB."""
        video = self.processor.video_processor
        return 3 * int(getattr(video, "temporal_patch_size", 1)) * int(video.patch_size) ** 2

    # ── frames ──

    def _with_enough_frames(self, frames: Frames) -> Frames:
        """The frames; a single one twice where the family looks at pairs, which is what the processors pad to."""
        if len(frames) >= getattr(self.processor.video_processor, "temporal_patch_size", 1) or len(frames) > 1:
            return frames
        return replace(
            frames,
            images=np.concatenate([frames.images, frames.images]),
            # The same moment is not allowed twice; a millisecond later is the same label.
            pts_seconds=np.append(frames.pts_seconds, frames.pts_seconds[-1] + 1e-3),
        )

    def _metadata(self, frames: Frames) -> Any:
        """Exact times for the processor, which knows only counts and rates: a clock of 1000 ticks a second."""
        from transformers.video_utils import VideoMetadata

        # A list that the processor may append to: it is made here and thrown away.
        return VideoMetadata(
            total_num_frames=max(1, round(len(frames) * self.step_seconds(frames) * 1000)),
            fps=1000,
            frames_indices=np.rint(frames.pts_seconds * 1000).astype(int).tolist(),
        )

    def step_seconds(self, frames: Frames) -> float:
        """How many seconds lie between frames: the sampling's own step where they are spaced like it, else their mean.

        Frames are on screen a little before the moments they were asked for, so their own times scatter around it.
        """
        if len(frames) < 2:
            return 1.0 / self.sampling.fps
        times = frames.pts_seconds
        mean = float(times[-1] - times[0]) / (len(times) - 1)
        nominal = 1.0 / self.sampling.fps
        if self.sampling.max_frames is not None and frames.duration_seconds is not None:
            nominal = max(nominal, frames.duration_seconds / self.sampling.max_frames)
        return nominal if abs(mean - nominal) <= _STEP_TOLERANCE * nominal else mean

    def _vision_size(self, grid_thw: Sequence[int]) -> VisionSize:
        count, height, width = grid_thw
        patch = self.processor.video_processor.patch_size
        return VisionSize(
            (count, height, width), (height * patch, width * patch), count * height * width // self.merge**2
        )

    def shown_size(self, inputs: Mapping[str, torch.Tensor], num_frames: int, height: int, width: int) -> VisionSize:
        """What the frames became, by the inputs that the processor made of them."""
        return self._vision_size(inputs["video_grid_thw"][0].tolist())

    def vision_size(self, num_frames: int, height: int, width: int) -> VisionSize:
        """What a video of this many frames of ``height`` x ``width`` pixels becomes; nothing is computed on pixels.

        Raises:
            ModelError: such frames do not fit the processor.
        """
        import torch

        video = self.processor.video_processor
        factor = video.patch_size * self.merge
        padded = max(num_frames, video.temporal_patch_size)
        try:
            shape = video.resize(
                torch.empty((1, padded, 3, height, width), dtype=torch.uint8, device="meta"),
                size=video.size,
                resample=video.resample,
                factor=factor,
                temporal_factor=video.temporal_patch_size,
                cap_pixels_per_frame=getattr(video, "cap_pixels_per_frame", None),
            ).shape
        except ValueError as error:
            raise ModelError(f"frames of {width} x {height} do not fit the processor: {one_line(error)}") from None
        grid = -(-padded // video.temporal_patch_size), shape[-2] // video.patch_size, shape[-1] // video.patch_size
        return self._vision_size(grid)

    def space(self, frames: Frames, kind: SpaceKind | None = None) -> Space:
        """The space of coordinates for these frames, its size in pixels: the checkpoint's own kind, or another one."""
        match kind or self.space_kind:
            case "per-mille" | "per-mille-yx" as sizeless:
                return Space(sizeless)
            case "source":
                height, width = frames.source_hw
                return Space("source", width, height)
            case "resized":
                height, width = self.vision_size(len(frames), *frames.images.shape[1:3]).resized_hw
                return Space("resized", width, height)

    # ── the model ──

    @classmethod
    def part_of(cls, parameter: str) -> Part:
        """The part of the model that a parameter of this name belongs to; the longest prefix decides."""
        longest = max(
            ((len(prefix), part) for part, prefixes in cls.parts.items() for prefix in prefixes if prefix in parameter),
            default=(0, "language"),
        )
        return longest[1]

    def load_model(
        self,
        folder: str | os.PathLike[str],
        *,
        dtype: Dtype = "auto",
        device: str = "auto",
        quantization: Quantization | None = None,
    ) -> Any:
        """The model of a checkpoint folder: safetensors only, in evaluation mode, with `prepare` done.

        ``dtype`` "auto" is float32 on the CPU and the checkpoint's own on a GPU. ``device`` is "auto" (a GPU when there
        is one; spread over all of them when there are several), "cpu", "cuda" or "cuda:1". ``quantization`` "int8" or
        "nf4" packs the language part's weights through bitsandbytes, on a GPU.

        Raises:
            ModelError: weights are missing, do not fit, or are not safetensors; or there is no such device.
            MissingExtra: quantization without bitsandbytes.
        """
        transformers = load_transformers("a language model")
        cls = getattr(transformers, self.model_class)
        options = placement(device, dtype, quantization)
        with vetted(folder, weights=True) as private:
            try:
                with no_bars():
                    model, report = cls.from_pretrained(private.folder, **LOADING, **options, output_loading_info=True)
            except load_errors() as error:
                words = f"the weights of {Path(folder).name!r} cannot be loaded: {one_line(error)}"
                raise ModelError(words) from None
        absent = sorted(report.get("missing_keys", ()))
        wrong = sorted(str(key) for key in report.get("mismatched_keys", ()))
        if absent or wrong:
            named = ", ".join([*absent, *wrong][:3])
            raise ModelError(
                f"{Path(folder).name!r} does not fill the model: {len(absent)} tensors missing, {len(wrong)} of "
                f"another shape ({named}). See: deeptrace models check"
            )
        self.prepare(model)
        model.generation_config = transformers.GenerationConfig(
            eos_token_id=list(self.end_ids), pad_token_id=self.pad_id, do_sample=False
        )
        # An adapter that is trained beside it names its base by this.
        model.name_or_path = model.config._name_or_path = os.fspath(folder)
        return model.eval()

    def prepare(self, model: Any) -> None:  # noqa: B027 - most families need nothing
        """Make a freshly loaded model do what the released weights were trained with. `load_model` has done it."""

    def generate(self, model: Any, batch: Mapping[str, torch.Tensor], *, max_new_tokens: int) -> list[str]:
        """Greedy answers to a batch of ``(B, L)`` that was collated with ``pad_left=True``, on the model's device."""
        return [one.text for one in self.answer(model, batch, max_new_tokens=max_new_tokens)]

    def answer(
        self,
        model: Any,
        batch: Mapping[str, torch.Tensor],
        *,
        max_new_tokens: int,
        draws: Sequence[tuple[float, int] | None] | None = None,
    ) -> list[Generated]:
        """As `generate`, with whether each answer came to its end and the log-probabilities of its first token.

        ``draws``: temperature and seed of each answer that is sampled, None of one that is greedy.
        """
        tokens, logprobs, masses = write_answers(
            model,
            batch,
            max_new_tokens=max_new_tokens,
            end=self.end_ids,
            pad=self.pad_id,
            labels=self.label_ids,
            draws=draws,
        )
        answers = []
        for row, ids in enumerate(tokens):
            end = self.end_of(ids)
            count = len(ids) if end is None else end + 1
            label = self._at_label(ids, masses[row])
            answers.append(Generated(self.decode(ids), end is not None, count, logprobs[row], label))
        return answers

    @cached_property
    def label_ids(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The tokens with which FAKE and REAL can begin: in any case, with a space, a quote or a mark before them."""
        fake, real = (self._beginnings(word) for word in ("FAKE", "REAL"))
        return tuple(sorted(fake - real)), tuple(sorted(real - fake))

    def _beginnings(self, word: str) -> set[int]:
        cases = (word, word.title(), word.lower())
        written = [f"{mark}{case}" for mark in ("", " ", "\n", '"', "**", "'") for case in cases]
        ids = {tokens[0] for text in written if (tokens := self.tokenize(text))}
        decoded = {id: str(self.processor.tokenizer.decode([id])).lstrip(" \n\"'*").upper() for id in ids}
        return {id for id, text in decoded.items() if text and word.startswith(text)}

    def _at_label(self, ids: Sequence[int], masses: Sequence[LabelMass]) -> LabelMass | None:
        """The masses at the token with which an answer's label begins; None where it has none, or too late a one."""
        offset = label_offset(self.decode(ids))
        if offset is None:
            return None
        for count, mass in enumerate(masses, 1):
            if len(self.decode(ids[:count])) > offset:
                return mass
        return None

    def next_logprobs(self, model: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Log-probabilities ``(B, vocabulary)`` of an answer's first token, by one pass over the prompts.

        float32 on the CPU. The batch was collated with ``pad_left=True`` and lies on the model's device.
        """
        return next_logprobs(model, batch)


def _video_size_in(folder: Path) -> dict[str, int] | None:
    """The resolution that a checkpoint states for *videos*.

    Where a folder has only ``preprocessor_config.json``, its bounds are those of images and none for video: the library
    would take them for both, or fall back on a class default that no released checkpoint was trained with.
    """
    for name, key in (("video_preprocessor_config.json", None), ("processor_config.json", "video_processor")):
        try:
            row = loads(read_bytes(folder / name, limit=MAX_JSON_BYTES))
        except (FileError, JsonError):
            continue
        row = row if key is None else (row.get(key) if isinstance(row, dict) else None)
        if not isinstance(row, dict):
            continue
        crop, at = row.get("crop_size"), name if key is None else f"{name}: {key}"
        for setting in ("crop_size", "size"):
            if isinstance(row.get(setting), dict) and (size := _bounds(row[setting], setting, at)) is not None:
                return size
        if crop is not None and not isinstance(crop, dict):  # the side of a square, as old files say it
            return _bounds({"height": crop, "width": crop}, "crop_size", at)
    return None


def _bounds(size: Mapping[str, Any], setting: str, at: str) -> dict[str, int] | None:
    """The bounds of the pixels in a size that was said by area or by sides; None where it says neither."""
    for (first, second), most in ((("shortest_edge", "longest_edge"), 1 << 40), (("height", "width"), 1 << 15)):
        if size.get(first) is None or size.get(second) is None:
            continue
        for side in (first, second):
            check_count(size[side], f"{setting}.{side}", at, high=most)
        low, high = (size[first], size[second]) if first == "shortest_edge" else [size[first] * size[second]] * 2
        if low > high:
            raise ModelError(f"{at}: {setting}.{first} is {low}, more than {second}, {high}. Exchange them.")
        return check_size({"shortest_edge": low, "longest_edge": high})
    return None


def _labels_behind(ids: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """``(1, L + N)``: N tokens to be learned behind a prompt ``(1, L)`` that is not."""
    import torch

    return torch.cat([torch.full_like(ids, IGNORED), torch.tensor([list(tokens)])], dim=1)


def _with_tokens(inputs: Mapping[str, torch.Tensor], tokens: Sequence[int]) -> dict[str, torch.Tensor]:
    """The inputs of a prompt, with tokens of text behind its own."""
    import torch

    more = torch.tensor([list(tokens)])
    longer = {**inputs, "input_ids": torch.cat([inputs["input_ids"], more], dim=1)}
    longer["attention_mask"] = torch.ones_like(longer["input_ids"])
    if "mm_token_type_ids" in inputs:
        kinds = inputs["mm_token_type_ids"]
        longer["mm_token_type_ids"] = torch.cat([kinds, torch.zeros_like(more, dtype=kinds.dtype)], dim=1)
    return longer
