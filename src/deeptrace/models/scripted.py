"""A model that reads its answers from a list or a file: for users' own tests, without weights."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeGuard

from typing_extensions import override

from deeptrace.answer import FORMAT_VERSIONS, QUESTIONS, Format, Space, parse
from deeptrace.errors import FileError, JsonError, ModelError
from deeptrace.files import read_jsonl
from deeptrace.models.base import FrameModel, Look, Sampling, read_ahead, sources
from deeptrace.models.consensus import Draw
from deeptrace.records import Failed, Frames, Origin, Outcome, Unparsed, Verdict
from deeptrace.video import VideoSource

NO_ANSWER: Final = "NO_ANSWER"
"""Code of the `Failed` for a video that the script does not know."""


class ScriptedModel(FrameModel):
    """Says what it was told to say.

    ``answers`` is a list, given out in order (one a video that can be read), or a mapping from ``video_id``. An answer
    that is a list of texts is what is said one time after the other (`deeptrace.models.consensus`); asked once, it says
    the first. Each text goes through `deeptrace.answer.parse`, in pixels of the source unless ``space`` is given. A
    video that has no answer is `Failed` with code ``NO_ANSWER``, which names
    ``file_name`` where there is one. The video itself is opened, so that an unreadable one fails as it does for every
    model.
    """

    name = "scripted"
    # One frame is enough to know the frame size and to find out that a video cannot be read.
    sampling = Sampling(fps=1.0, max_frames=1)

    def __init__(
        self,
        answers: Sequence[str | Sequence[str]] | Mapping[str, str | Sequence[str]],
        *,
        format: Format = "trained",
        space: Space | None = None,
        file_name: str | None = None,
    ) -> None:
        self._by_id = dict(answers) if isinstance(answers, Mapping) else None
        self._in_order = iter(()) if isinstance(answers, Mapping) else iter(list(answers))
        self._names: dict[str, str] = {}
        self._format = format
        self._space = space
        self._script_name = "the script" if file_name is None else f"the script {file_name!r}"
        self.question = QUESTIONS[format]

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], *, format: Format = "trained", space: Space | None = None
    ) -> ScriptedModel:
        """The model of a JSONL file whose lines hold ``video_id`` and ``text``, one or a list.

        Raises:
            ModelError: the file cannot be read, a line is not that, or an id stands twice.
        """
        name = Path(path).name
        try:
            rows = list(read_jsonl(path))
        except (FileError, JsonError) as error:
            raise ModelError(str(error)) from None
        answers: dict[str, str | list[str]] = {}
        for number, row in rows:
            video_id, text = (row.get("video_id"), row.get("text")) if isinstance(row, dict) else (None, None)
            if not isinstance(video_id, str) or not _is_script(text):
                raise ModelError(f'{name} line {number}: expected {{"video_id": "...", "text": "..."}}')
            if video_id in answers:
                raise ModelError(f"{name} line {number}: video {video_id!r} has an answer already")
            answers[video_id] = text
        return cls(answers, format=format, space=space, file_name=name)

    def call_videos(self, names: Mapping[str, str]) -> None:
        """Give videos their ids, by path, where a file is not called after its video: in a dataset, for example."""
        self._names.update(names)

    @override
    def verdict(self, frames: Frames, origin: Origin) -> Outcome:
        """The scripted answer, parsed."""
        outcome = self._said(self._script(origin), 0, frames, origin)
        return outcome.following_probability() if isinstance(outcome, Verdict) else outcome

    def sample_iter(
        self, videos: VideoSource | Iterable[VideoSource], draws: Sequence[Draw]
    ) -> Iterator[list[Outcome]]:
        """For each video one outcome for each of ``draws``: what the script says at that time; see `SampledModel`."""
        made_by = Origin(model=self.name, revision=self.revision, question=self.question)
        looks = (Look(video, self.sampling, limits=self.limits) for video in sources(videos))
        with closing(read_ahead(looks, made_by)) as readings:
            for frames, origin in readings:
                if isinstance(frames, Failed):
                    yield [frames]
                    continue
                script = self._script(origin)
                yield [self._said(script, draw.index, frames, origin) for draw in draws]

    def _script(self, origin: Origin) -> str | Sequence[str] | None:
        video_id = self._names.get(origin.path or "", origin.video_id)
        return self._by_id.get(video_id or "") if self._by_id is not None else next(self._in_order, None)

    def _said(self, script: str | Sequence[str] | None, index: int, frames: Frames, origin: Origin) -> Outcome:
        texts = [script] * (index + 1) if isinstance(script, str) else script
        if texts is None or index >= len(texts):
            which = "" if index == 0 else f", asked for the {index + 1}th time"
            words = f"{self._script_name} holds no answer for {origin.video_id!r}{which}"
            return Failed(NO_ANSWER, words, origin)
        text = texts[index]
        height, width = frames.source_hw
        space = self._space or Space("source", width, height)
        parsed: Verdict | Unparsed = parse(text, self._format, space)
        sampling = {
            **(origin.sampling or {}),
            "format": self._format,
            "format_version": FORMAT_VERSIONS[self._format],
            "space": space.to_json(),
        }
        return replace(parsed, origin=replace(origin, sampling=sampling))


def _is_script(text: object) -> TypeGuard[str | list[str]]:
    """One text, or a list of some."""
    return isinstance(text, str) or (isinstance(text, list) and bool(text) and all(isinstance(t, str) for t in text))
