"""What models that answer in words share: frames and a question in, text out, a row with everything that made it.

A home writes `TextModel.ask` (the texts of a few questions at once) and states its format, sampling and coordinates;
this file reads the videos, puts the question, parses the answers, and turns probabilities and failures into outcomes.
Base of ``hf:`` and ``openai:`` models; `deeptrace.models.two_pass` lets one look twice.
"""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol, TypeAlias

import numpy as np

from deeptrace.answer import FORMAT_VERSIONS, QUESTIONS, Format, ShownFrames, Space, parse
from deeptrace.answer import question as question_text
from deeptrace.errors import DeepTraceError
from deeptrace.models.base import MODEL_CRASHED, Look, Sampling, read_ahead, score_of, sources
from deeptrace.models.consensus import Draw
from deeptrace.records import Failed, Frames, Origin, Outcome, Score, Unparsed
from deeptrace.video import DEFAULT_LIMITS, ReadLimits, VideoSource

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PosedQuestion:
    """One question as the model is asked it. ``space`` is that of the coordinates in the answer."""

    frames: Frames
    text: str
    space: Space
    origin: Origin
    draw: Draw | None = None
    """How its answer is sampled; None: greedy."""
    seed: int | None = None
    """Of a sampled answer, 63 bits: of the draw and of the bytes that were looked at, whatever the file is called."""


@dataclass(frozen=True)
class ModelReply:
    """What a model answered to one question.

    ``p_fake`` is P(FAKE) / (P(FAKE) + P(REAL)) over the first token of the label, in [0, 1], where the model can tell.
    ``facts`` go into the row's ``sampling``: what else made this answer (frames sent, tokens). ``revision`` takes the
    place of the model's own where the answer knows it better (a dated name).
    """

    text: str
    p_fake: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    revision: str | None = None


@dataclass(frozen=True)
class NoAnswer:
    """A question that got no text: ``code`` and ``reason`` of a `Failed`. ``facts``, ``revision``: see `ModelReply`."""

    code: str
    reason: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    revision: str | None = None


@dataclass(frozen=True)
class NotAnAnswer:
    """Text that must not be read as an answer (a refusal, one that was cut off): the ``reason`` of an `Unparsed`."""

    reason: str
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    revision: str | None = None


Answer: TypeAlias = ModelReply | NotAnAnswer | NoAnswer


class ProbabilityMap(Protocol):
    """A monotone map of probabilities in [0, 1], with the name that stands in the row."""

    @property
    def name(self) -> str:
        """Which calibration this is."""
        ...

    def __call__(self, p_fake_raw: float) -> float:
        """The calibrated probability."""
        ...


class TextModel(ABC):
    """A model that is asked a question about frames and answers in words.

    A subclass sets ``name``, ``format`` and ``sampling``, and writes `space` and `ask`; also `rate`, where the
    probability of the label can be had without writing the whole answer. ``question`` takes the place of the format's
    own words; `adjust` and `answers` are hooks too. One bad video costs its own outcome.

    Where there is a ``p_fake``, the label follows it, after ``calibration``: fake from 0.5 on. Words that say the other
    label are flagged `deeptrace.records.LABEL_AGAINST_WORDS`, and the traces they claim are kept.
    """

    name: str
    revision: str | None = None
    format: Format
    sampling: Sampling
    limits: ReadLimits = DEFAULT_LIMITS
    """The bounds on reading each video."""
    batch_size: int = 1
    """How many questions `ask` and `rate` are given at most, at once."""
    times_beside_frames: bool = False
    """Whether the prompt itself has a time beside each frame; an informed question lists the times otherwise."""
    calibration: ProbabilityMap | None = None
    ends_the_run: tuple[type[Exception], ...] = ()
    """Errors of `ask` and `rate` that no other video could escape: they are raised, not turned into a `Failed`."""

    @property
    def question(self) -> str:
        """The words of the question, as they stand in the rows: those of the format, before anything is filled in."""
        return QUESTIONS[self.format]

    @property
    def settings(self) -> dict[str, Any]:
        """What its answers depend on besides name, revision, question and sampling: answers of others do not count."""
        return {
            "format": self.format,
            "calibration": None if self.calibration is None else self.calibration.name,
        }

    def sent_temperature(self, wanted: float) -> float | None:
        """The temperature at which an answer is drawn where ``wanted`` is asked for; None: the model's own."""
        return wanted

    @abstractmethod
    def space(self, frames: Frames) -> Space:
        """The coordinates that the model speaks about these frames: pixels of theirs, or 0 to 1000."""

    def adjust(self, look: Look) -> Look:
        """The look that is taken in the place of the one asked for."""
        return look

    @abstractmethod
    def ask(self, batch: Sequence[PosedQuestion]) -> Sequence[Answer]:
        """One answer a question, in order. What it raises for several questions is tried again one by one."""

    def rate(self, batch: Sequence[PosedQuestion]) -> Sequence[Answer]:
        """As `ask`, where only `ModelReply.p_fake` is wanted: the text may be empty."""
        return self.ask(batch)

    def answers(self, questions: Iterator[PosedQuestion], *, rate: bool) -> Generator[Answer, None, None]:
        """One answer a question, in order, by `ask` or `rate`. For models that do not work in batches to override."""
        while batch := list(islice(questions, self.batch_size)):
            yield from self._batch(batch, rate=rate)

    # ── the road from videos to outcomes ──

    def inspect_iter(self, videos: VideoSource | Iterable[VideoSource]) -> Iterator[Outcome]:
        """The outcome of each video, in order, each as soon as its batch is there."""
        return self.look_iter(Look(video, self.sampling, limits=self.limits) for video in sources(videos))

    def inspect(self, videos: VideoSource | Iterable[VideoSource]) -> list[Outcome]:
        """The outcome of each video, in order."""
        return list(self.inspect_iter(videos))

    def look_iter(self, looks: Iterable[Look]) -> Iterator[Outcome]:
        """The outcome of each look, in order."""
        for question, answer in self._pair_answers(looks, rate=False):
            yield question if isinstance(question, Failed) else self._outcome(question, answer)

    def sample_iter(
        self, videos: VideoSource | Iterable[VideoSource], draws: Sequence[Draw]
    ) -> Iterator[list[Outcome]]:
        """For each video, in order, one outcome for each of ``draws``; a single `Failed` where it cannot be read.

        A label is what the words say: it does not follow the probability at its token, which is the same for all.
        That stands in the row's ``sampling`` as ``label_token_p_fake``.
        """
        looks = (Look(video, self.sampling, limits=self.limits) for video in sources(videos))
        drawn: list[Outcome] = []
        for question, answer in self._pair_answers(looks, rate=False, draws=draws):
            if isinstance(question, Failed):
                yield [question]
                continue
            drawn.append(self._drawn_outcome(question, answer))
            if len(drawn) == len(draws):
                yield drawn
                drawn = []

    def score(self, videos: VideoSource | Iterable[VideoSource]) -> list[Score | Unparsed | Failed]:
        """P(fake) of each video, in order. An answer without a probability is `Unparsed`, never a number."""
        looks = (Look(video, self.sampling, limits=self.limits) for video in sources(videos))
        return [
            question if isinstance(question, Failed) else self._score(question, answer)
            for question, answer in self._pair_answers(looks, rate=True)
        ]

    def _pair_answers(
        self, looks: Iterable[Look], *, rate: bool, draws: Sequence[Draw | None] = (None,)
    ) -> Iterator[tuple[PosedQuestion | Failed, Answer]]:
        """Each look's question and its answer, in order; a look that got no question is `Failed`, with any answer.

        A question is put once for each of ``draws``.
        """
        nothing = NoAnswer("", "")
        waiting: deque[PosedQuestion | Failed] = deque()  # in order; not yet given out

        def questions() -> Iterator[PosedQuestion]:
            for frames, origin in readings:
                question = self._pose(frames, origin)
                if isinstance(question, Failed):
                    waiting.append(question)
                    continue
                content = "" if draws == (None,) else _content_of(question)
                for draw in draws:
                    seed = None if draw is None else draw.seed_for(content)
                    drawn = replace(question, draw=draw, seed=seed)
                    waiting.append(drawn)
                    yield drawn

        made_by = Origin(model=self.name, revision=self.revision, question=self.question)
        with (
            closing(read_ahead(map(self.adjust, looks), made_by, ahead=self.batch_size)) as readings,
            closing(self.answers(questions(), rate=rate)) as answers,
        ):
            for answer in answers:
                while isinstance(waiting[0], Failed):
                    yield waiting.popleft(), nothing
                yield waiting.popleft(), answer
            while waiting:
                yield waiting.popleft(), nothing

    def _pose(self, frames: Frames | Failed, origin: Origin) -> PosedQuestion | Failed:
        if isinstance(frames, Failed):
            return frames
        try:
            space = self.space(frames)
            shown_frames = ShownFrames.of(frames, times_beside_frames=self.times_beside_frames)
            words = question_text(self.format, space, shown_frames, words=self.question)
        except DeepTraceError as error:
            return Failed(error.code, str(error), origin)
        sampling = {
            **(origin.sampling or {}),
            "format": self.format,
            "format_version": FORMAT_VERSIONS[self.format],
            "space": space.to_json(),
        }
        return PosedQuestion(frames, words, space, replace(origin, sampling=sampling))

    def _batch(self, batch: Sequence[PosedQuestion], *, rate: bool) -> Sequence[Answer]:
        try:
            answers = self.rate(batch) if rate else self.ask(batch)
        except self.ends_the_run:
            raise
        except Exception as error:  # noqa: BLE001 - a model is anyone's code; others must not lose their outcome
            if len(batch) > 1:
                _log.warning("model %s failed on a batch of %d: one by one", self.name, len(batch))
                return [answer for one in batch for answer in self._batch([one], rate=rate)]
            if isinstance(error, DeepTraceError):
                return [NoAnswer(error.code, str(error))]
            _log.exception("model %s failed on %s", self.name, batch[0].origin.video_id)
            return [NoAnswer(MODEL_CRASHED, f"the model raised {type(error).__name__}: {error}")]
        assert len(answers) == len(batch), "a model gives one answer a question"
        return answers

    # ── answers to outcomes ──

    def _outcome(self, question: PosedQuestion, answer: Answer) -> Outcome:
        origin = _complete(question.origin, answer)
        match answer:
            case NoAnswer():
                return Failed(answer.code, answer.reason, origin)
            case NotAnAnswer():
                return Unparsed(answer.reason, answer.text, origin)
        outcome = parse(answer.text, self.format, question.space)
        if isinstance(outcome, Unparsed):
            return replace(outcome, origin=origin)
        raw = outcome.p_fake if answer.p_fake is None else answer.p_fake
        if raw is None:
            return replace(outcome, origin=origin)
        source = "stated" if answer.p_fake is None else "label token"
        score = self._calibrate(raw)
        verdict = replace(
            outcome,
            p_fake=score.p_fake,
            p_fake_raw=raw,
            calibration=None if self.calibration is None else self.calibration.name,
            origin=replace(origin, sampling={**(origin.sampling or {}), "p_fake_from": source}),
        )
        return verdict.following_probability()

    def _drawn_outcome(self, question: PosedQuestion, answer: Answer) -> Outcome:
        if not isinstance(answer, ModelReply):
            return self._outcome(question, answer)
        origin = _complete(question.origin, answer)
        sampling = {**(origin.sampling or {}), "label_token_p_fake": answer.p_fake}
        return replace(parse(answer.text, self.format, question.space), origin=replace(origin, sampling=sampling))

    def _score(self, question: PosedQuestion, answer: Answer) -> Score | Unparsed | Failed:
        if isinstance(answer, ModelReply):
            if answer.p_fake is not None:
                return self._calibrate(answer.p_fake)
            if not answer.text:
                return Unparsed("the model gives no probability of its label", "", _complete(question.origin, answer))
        return score_of(self._outcome(question, answer))

    def _calibrate(self, raw: float) -> Score:
        return Score(raw if self.calibration is None else self.calibration(raw), raw)


def _content_of(question: PosedQuestion) -> str:
    """A hash of what was looked at: of the file's bytes where they are known, else of the frames and their times."""
    if question.origin.sha256 is not None:
        return question.origin.sha256
    frames = question.frames
    digest = hashlib.sha256(f"{frames.images.shape} {frames.pts_seconds.tolist()}".encode())
    digest.update(np.ascontiguousarray(frames.images).data)
    return digest.hexdigest()


def _complete(origin: Origin, answer: Answer) -> Origin:
    sampling = {**(origin.sampling or {}), **answer.facts}
    return replace(origin, sampling=sampling, revision=answer.revision or origin.revision)
