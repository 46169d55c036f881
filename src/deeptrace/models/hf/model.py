"""``hf:`` models: a video language model from a folder or from the Hugging Face hub, run here through transformers.

Frames and their exact times come from our reader; the family (`deeptrace.models.hf.families`: VideoLLaMA 3, the Qwen
VLs and others) turns them into the model's inputs. ``deeptrace.json`` beside the weights says what a checkpoint is
asked; options take its place. Greedy: one video, one answer, unless several are drawn (`deeptrace.models.consensus`).
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from typing_extensions import override

from deeptrace.answer import CUT_OFF, FORMAT_VERSIONS, FORMATS, QUESTIONS, Format, Space, check_format, render
from deeptrace.errors import ModelError, VideoError
from deeptrace.measures.calibration import calibration_beside
from deeptrace.models.base import Look, Sampling
from deeptrace.models.hf.checkpoint import CheckpointCard, FrameTimes, SpaceKind, read_card
from deeptrace.models.hf.families import Encoded, Family, family_of
from deeptrace.models.hf.families.generating import LabelMass, label_mass
from deeptrace.models.hf.families.placement import Dtype, Quantization
from deeptrace.models.hf.library import load_transformers
from deeptrace.models.hf.weights import fingerprint
from deeptrace.models.text import Answer, ModelReply, NoAnswer, NotAnAnswer, PosedQuestion, TextModel
from deeptrace.records import Frames, Verdict
from deeptrace.video import probe

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

OUT_OF_MEMORY: Final = "MODEL_OUT_OF_MEMORY"
"""Code of the `Failed` for a video that does not fit into memory even alone."""

NOT_FINITE: Final = "MODEL_NOT_FINITE"
"""Code of the `Failed` for a video on which the model computed NaN: in float16 numbers can grow too large."""

LABEL_SHARE: Final = 0.5
"""Of the probability at the label's token, what FAKE and REAL must hold together for their ratio to mean anything."""

_HUB_ID: Final = re.compile(r"(?P<repo>[\w.-]{1,96}/[\w.-]{1,96})(?:@(?P<revision>[\w./-]{1,200}))?")


class HfModel(TextModel):
    """A checkpoint that answers in words.

    ``checkpoint`` is a folder, or a hub id as ``org/name`` or ``org/name@revision``; a branch is resolved to its
    commit, which stands in every row. What is None comes from ``deeptrace.json``, else from the family's released
    models: ``question`` (the name of an answer format, see `deeptrace.answer.FORMATS`) and its ``words``, the ``space``
    of the answer's coordinates, the ``sampling`` of frames, ``size`` (bounds of a video's pixels), ``frame_times`` and
    ``system_prompt`` ("": none), which stands in every row. ``batch_size`` videos are answered at once; what does not
    fit into memory is halved until it does. An answer longer than ``max_new_tokens`` is cut off and not read.
    ``dtype``, ``device`` and ``quantization``: see `Family.load_model`. A ``calibration.json`` beside the weights,
    fitted on this checkpoint, turns ``p_fake_raw`` into ``p_fake``.

    Raises:
        ModelError: no such checkpoint, one that cannot be read safely, or options that do not fit.
        AnswerError: an answer format that this version does not know.
        MissingExtra: transformers is not installed.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str],
        *,
        question: Format | None = None,
        words: str | None = None,
        space: SpaceKind | None = None,
        sampling: Sampling | None = None,
        size: Mapping[str, int] | None = None,
        frame_times: FrameTimes | None = None,
        system_prompt: str | None = None,
        batch_size: int = 1,
        max_new_tokens: int = 512,
        dtype: Dtype = "auto",
        device: str = "auto",
        quantization: Quantization | None = None,
    ) -> None:
        if batch_size < 1 or max_new_tokens < 1:
            raise ModelError(f"batch_size {batch_size} and max_new_tokens {max_new_tokens} must be positive.")
        load_transformers("an hf: model")
        folder, self.name, commit = locate(os.fspath(checkpoint))
        card = read_card(folder) or CheckpointCard()
        card = _with_options(
            card,
            format=question,
            question=words,
            space=space,
            frame_times=frame_times,
            size=size,
            sampling=sampling,
            system_prompt=system_prompt,
        )
        self.family: Family = family_of(folder, card=card)
        self.sampling = self.family.sampling
        self.format = card.format
        self._question = card.question or QUESTIONS[self.format]
        self.family.render_prompt(self._question)  # a question that cannot be asked fails here
        self.frame_times: FrameTimes = card.frame_times
        self.batch_size = batch_size
        self.max_new_tokens = max_new_tokens
        self.revision = commit or fingerprint(folder)
        self._quantization = quantization
        self.times_beside_frames = bool(self.family.time_text(0.0))
        self.label_share = LABEL_SHARE
        self._label_first = _begins_with_label(self.family, self.format)
        self.calibration = calibration_beside(folder, model=self.name, revision=self.revision)
        self.model: Any = self.family.load_model(folder, dtype=dtype, device=device, quantization=quantization)

    @override
    @property
    def question(self) -> str:
        """The words of the question, as they stand in the rows."""
        return self._question

    @override
    @property
    def settings(self) -> dict[str, Any]:
        """What its answers depend on besides name, revision, question and sampling."""
        return {
            **super().settings,
            "space_kind": self.family.space_kind,
            "frame_times": self.frame_times,
            "size": dict(self.family.size),
            "max_new_tokens": self.max_new_tokens,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "quantization": self._quantization,
        }

    @property
    def system_prompt(self) -> str:
        """What stands before the question as the system's turn, as in the rows; "" where there is no such turn."""
        return self.family.system_prompt

    @system_prompt.setter
    def system_prompt(self, words: str) -> None:
        self.family.set_system_prompt(words)

    @override
    def space(self, frames: Frames) -> Space:
        """The coordinates that the model speaks about these frames."""
        return self.family.space(frames)

    # ── frames ──

    @override
    def adjust(self, look: Look) -> Look:
        """The look that the original code takes, for a checkpoint that was trained so."""
        return shift_look(look) if self.frame_times == "as-trained" else look

    def encode(self, question: PosedQuestion, *, begun: str = "") -> Encoded:
        """The model's inputs for one question, and the beginning of an answer where one is given."""
        frames = question.frames
        if self.frame_times == "as-trained" and _was_shifted(question, self.sampling.fps):
            frames = relabel(frames, self.sampling.fps)
        return self.family.encode(frames, question.text, begun=begun)

    # ── answers ──

    @override
    def ask(self, batch: Sequence[PosedQuestion]) -> Sequence[Answer]:
        """Greedy answers; P(fake) comes with them from the token with which their label begins."""
        return self._in_memory(self._encode_all(batch), self._generate)

    def _encode_all(self, batch: Sequence[PosedQuestion]) -> list[Encoded]:
        """The inputs of each question; frames that are asked about several times in a row are prepared once."""
        rows: list[Encoded] = []
        for number, question in enumerate(batch):
            before = batch[number - 1] if number else None
            again = before is not None and before.frames is question.frames and before.text == question.text
            encoded = rows[-1] if again else self.encode(question)
            draw, seed = question.draw, question.seed
            seeded = None if draw is None or seed is None else (draw.temperature, seed)
            rows.append(replace(encoded, draw=seeded))
        return rows

    @override
    def rate(self, batch: Sequence[PosedQuestion]) -> Sequence[Answer]:
        """P(fake) by one pass over each prompt; in JSON, over the prompt and what stands before the label.

        Where the labels do not hold `LABEL_SHARE` there, what comes first is no label: the whole answer is asked for.
        """
        if not self._label_first:
            return self.ask(batch)
        begun = FORMATS[self.format].label_prefix
        answers = self._in_memory([self.encode(question, begun=begun) for question in batch], self._rate)
        vague = [i for i, answer in enumerate(answers) if isinstance(answer, ModelReply) and answer.p_fake is None]
        for i, whole in zip(vague, self.ask([batch[i] for i in vague]) if vague else (), strict=True):
            answers[i] = whole
        return answers

    def _generate(self, batch: Sequence[Encoded]) -> list[Answer]:
        inputs = self._on_device(batch)
        generations = self.family.answer(
            self.model, inputs, max_new_tokens=self.max_new_tokens, draws=[one.draw for one in batch]
        )
        answers: list[Answer] = []
        for encoded, generation in zip(batch, generations, strict=True):
            facts = {**self._facts(encoded), "answer_tokens": generation.tokens}
            if bool(generation.first_logprobs.isnan().any()):
                answers.append(_not_finite(facts))
            elif generation.ended:
                p_fake, reason = self._p_fake(generation.label)
                answers.append(
                    ModelReply(generation.text, p_fake, facts if reason is None else {**facts, "no_p_fake": reason})
                )
            else:
                answers.append(NotAnAnswer(CUT_OFF, generation.text, facts))
        return answers

    def _rate(self, batch: Sequence[Encoded]) -> list[Answer]:
        logprobs = self.family.next_logprobs(self.model, self._on_device(batch))
        return [
            _not_finite(self._facts(one))
            if bool(row.isnan().any())
            else ModelReply("", self._p_fake(label_mass(row, self.family.label_ids))[0], self._facts(one))
            for one, row in zip(batch, logprobs, strict=True)
        ]

    def _facts(self, one: Encoded) -> dict[str, Any]:
        """What else made an answer, for its row."""
        return {
            "prompt_tokens": int(one.inputs["input_ids"].shape[1]),
            "grid_thw": list(one.size.grid_thw),
            "resized_hw": list(one.size.resized_hw),
            "frame_times": self.frame_times,
            "system_prompt": self.system_prompt,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "quantization": self._quantization,
        }

    def _p_fake(self, label: LabelMass | None) -> tuple[float | None, str | None]:
        """P(FAKE) / (P(FAKE) + P(REAL)) at the token with which the label begins; or None, and why."""
        if label is None:
            return None, "no label was recognised among the answer's first tokens"
        share = label.fake + label.real
        if share < self.label_share:
            return None, f"FAKE and REAL hold {share:.2g} of the probability at the label, under {self.label_share:g}"
        return label.p_fake, None

    def _on_device(self, batch: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        return {
            name: tensor.to(self.model.device) for name, tensor in self.family.collate(batch, pad_left=True).items()
        }

    def _in_memory(self, batch: Sequence[Encoded], work: Any) -> list[Answer]:
        """What ``work`` makes of a batch; where memory runs out, of its halves."""
        import torch

        try:
            return list(work(batch))
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            reason = " ".join(str(error).split())[:200]
        # Outside the handler: the error holds on to the frames of the failed attempt, and they to its tensors.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(batch) == 1:
            size = batch[0].size
            words = f"{size.tokens} video tokens of {size.grid_thw[0]} steps do not fit into memory: {reason}"
            return [NoAnswer(OUT_OF_MEMORY, f"{words}. Ask for fewer frames (fps, max_frames) or pixels (size).")]
        half = len(batch) // 2
        _log.warning("%s: %d videos do not fit into memory at once, trying %d", self.name, len(batch), half)
        self.batch_size = max(1, min(self.batch_size, len(batch) - half))
        return [*self._in_memory(batch[:half], work), *self._in_memory(batch[half:], work)]


def _not_finite(facts: dict[str, Any]) -> NoAnswer:
    return NoAnswer(NOT_FINITE, "the model computed NaN. Try dtype bfloat16 or float32; see models check.", facts)


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    # The CPU's allocator has no error of its own.
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


# ── what is loaded ──────────────────────────────────────────────────────────────────────────────────────────────────


def locate(checkpoint: str) -> tuple[Path, str, str | None]:
    """The folder of a checkpoint, its name for rows (no path of this machine), and its commit on the hub.

    Raises:
        ModelError: it is neither a folder nor a hub id, or the hub does not give it.
    """
    folder = Path(checkpoint)
    if folder.is_dir():
        return folder, f"hf:{folder.resolve().name}", None
    match = _HUB_ID.fullmatch(checkpoint)
    if match is None:
        raise ModelError(f"{folder.name!r} is neither a folder nor a hub id (org/name or org/name@revision).")
    from deeptrace.models.hf.hub import fetch

    fetched = fetch(match["repo"], match["revision"])
    return fetched.folder, f"hf:{match['repo']}", fetched.commit


def _with_options(card: CheckpointCard, *, format: Format | None, **options: Any) -> CheckpointCard:
    """The card with the options that were given (not None), by the names of its fields."""
    if format is not None:
        check_format(format, FORMAT_VERSIONS.get(format, 0))
        # Another format than the checkpoint's is asked in that format's own words.
        own = card.question if format == card.format else None
        card = replace(card, format=format, format_version=FORMAT_VERSIONS[format], question=own)
    return replace(card, **{name: value for name, value in options.items() if value is not None})


def _begins_with_label(family: Family, format: Format) -> bool:
    """Whether an answer begins with its label, behind a fixed prefix, and its first token tells the two apart."""
    prefix = FORMATS[format].label_prefix
    fake, real = (render(Verdict(label), format, Space("per-mille")) for label in ("fake", "real"))
    if not (fake.startswith(prefix) and real.startswith(prefix)):
        return False
    tokens = (family.tokenize(fake.removeprefix(prefix))[0], family.tokenize(real.removeprefix(prefix))[0])
    return all(token in ids for token, ids in zip(tokens, family.label_ids, strict=True))


# ── frame times as a converted checkpoint was trained ───────────────────────────────────────────────────────────────


def shift_look(look: Look) -> Look:
    """The look at the frames that the original code shows: those at ``(k+1)/fps - 1/source fps``.

    A source slower than the sampling, and a look at a window that does not begin with the video, stay as they are.
    """
    try:
        info = probe(look.video, limits=look.limits)
    except VideoError:
        return look  # the reading will say so
    rate = info.fps
    if look.start_seconds or not rate or rate <= look.sampling.fps:
        return look
    shift = 1.0 / look.sampling.fps - 1.0 / rate
    if info.duration_seconds is not None:
        shift = min(shift, max(0.0, info.duration_seconds - 1.0 / rate))
    return replace(look, start_seconds=shift)


def _was_shifted(question: PosedQuestion, fps: float) -> bool:
    """The look is one that `shift_look` moved, not a window that somebody asked for."""
    window = (question.origin.sampling or {}).get("window_seconds")
    return window is not None and window[1] is None and 0.0 < window[0] < 1.0 / fps


def relabel(frames: Frames, fps: float) -> Frames:
    """The frames with the times that the original code tells the model: ``k / fps``, from 0 on."""
    if len(frames) > 1:
        # On screen at a moment is a frame from up to a step before it: the steps between two frames are whole numbers.
        steps = np.maximum(1, np.rint(np.diff(frames.pts_seconds) * fps))
        thin = np.diff(frames.pts_seconds).mean() * fps
        if thin > 1.25:  # a limit on frames spread them further apart
            steps = np.full(len(frames) - 1, thin)
        times = np.concatenate([[0.0], np.cumsum(steps) / fps])
    else:
        times = np.zeros(1)
    return replace(frames, pts_seconds=times.astype(np.float64))
