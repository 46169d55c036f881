"""Models by name: ``load("motion")``, ``load("scripted:answers.jsonl")``. A home is imported when asked for."""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from deeptrace.answer import FIELDS, Field
from deeptrace.errors import ModelError
from deeptrace.models import registry
from deeptrace.models.base import FrameModel, Model, Sampling
from deeptrace.video import ReadLimits, VideoSource

__all__ = ["DECLARED_FIELDS", "HOMES", "SUMMARIES", "FrameModel", "Model", "Sampling", "VideoSource", "load"]

_log = logging.getLogger(__name__)

HOMES: Final[dict[str, str]] = {
    "embedded": "deeptrace.models.embedded:EmbeddedModel",
    "hf": "deeptrace.models.hf.model:HfModel",
    "motion": "deeptrace.models.motion.model:MotionModel",
    "openai": "deeptrace.models.openai:OpenAIModel",
    "scripted": "deeptrace.models.scripted:ScriptedModel.from_file",
}
"""Name before the colon -> ``module:attribute``, called with what stands behind the colon (when something does)."""

SUMMARIES: Final[dict[str, str]] = {
    "embedded": "the small model that ships: where and when a trace is, and whether the clip looks generated",
    "hf": "a video language model run here: VideoLLaMA 3, Qwen VL, InternVL, LLaVA-OneVision (hf:FOLDER, hf:org/name)",
    "motion": "a classical detector without weights, a baseline: looks for what motion cannot explain",
    "openai": "a model that looks at images, behind an OpenAI-compatible endpoint (openai:NAME)",
    "scripted": "answers from a JSONL file of video_id and text (scripted:FILE), for tests",
}

DECLARED_FIELDS: Final[dict[str, tuple[Field, ...]]] = {"embedded": FIELDS, "motion": FIELDS}
"""Models that are asked nothing, and what their verdicts are able to say of a trace, whether or not they say it."""

_NEEDS_ARGUMENT: Final = {
    "hf": "a checkpoint, as in hf:folder or hf:org/name@revision",
    "openai": "the name that the model has at its endpoint, as in openai:gpt-4.1",
    "scripted": "a file, as in scripted:answers.jsonl",
}

_TAKES_ARGUMENT: Final = {"embedded"}  # a folder with weights of one's own


def load(name: str, *, limits: ReadLimits | None = None, **options: Any) -> Model:
    """The model of that name; ``options`` go to its home. A named model (see `registry`) brings options of its own.

    ``limits`` are the bounds on reading each video, where they are not to be the usual ones:
    ``ReadLimits(max_pixels=8192 * 4320, follow_links=True)``.

    Raises:
        ModelError: there is no such model, or what it needs is missing.
        MissingExtra: its optional packages are not installed.
    """
    if ":" not in name and name not in HOMES and (entry := registry.entries().get(name)) is not None:
        if entry.overrides:
            _log.warning("%s is what %s says, in the place of our own entry", name, entry.source)
        return load(entry.home, limits=limits, **{**entry.options(), **options})
    home, colon, argument = name.partition(":")
    if home not in HOMES:
        close = difflib.get_close_matches(name, [*HOMES, *registry.entries()], n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ModelError(f"{name!r} is not a model. Known: {', '.join(HOMES)}; `deeptrace models` lists all.{hint}")
    if home in _NEEDS_ARGUMENT and not argument:
        raise ModelError(f"{home!r} needs {_NEEDS_ARGUMENT[home]}.")
    if home not in _NEEDS_ARGUMENT and home not in _TAKES_ARGUMENT and colon:
        raise ModelError(f"{home!r} takes nothing behind the colon, got {argument!r}.")
    module, _, attribute = HOMES[home].partition(":")
    factory: Any = import_module(module)
    for part in attribute.split("."):
        factory = getattr(factory, part)
    parameters = inspect.signature(factory).parameters
    if unknown := [option for option in options if option not in parameters]:
        raise ModelError(f"{home!r} takes no option {', '.join(map(repr, unknown))}. Options: {_options(parameters)}")
    loaded: Any = factory(argument, **options) if argument else factory(**options)
    if limits is not None:
        loaded.limits = limits
    model: Model = loaded
    return model


def _options(parameters: Mapping[str, inspect.Parameter]) -> str:
    return (
        ", ".join(name for name, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY) or "none"
    )
