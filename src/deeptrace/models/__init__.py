"""Models by name: ``load("motion")``, ``load("scripted:answers.jsonl")``. A home is imported when asked for."""

from __future__ import annotations

import difflib
from importlib import import_module
from inspect import signature
from typing import Any, Final

from deeptrace.errors import ModelError
from deeptrace.models.base import FrameModel, Model, Sampling
from deeptrace.video import VideoSource

__all__ = ["HOMES", "SUMMARIES", "FrameModel", "Model", "Sampling", "VideoSource", "load"]

HOMES: Final[dict[str, str]] = {
    "hf": "deeptrace.models.hf:HfModel",
    "motion": "deeptrace.models.motion:MotionModel",
    "openai": "deeptrace.models.openai:OpenAIModel",
    "scripted": "deeptrace.models.scripted:ScriptedModel.from_file",
}
"""Name before the colon -> ``module:attribute``, called with what stands behind the colon (when something does)."""

SUMMARIES: Final[dict[str, str]] = {
    "hf": "a video language model run here: VideoLLaMA 3, Qwen 2.5 VL, Qwen 3 VL (hf:FOLDER or hf:org/name)",
    "motion": "a classical detector without weights, a baseline: looks for what motion cannot explain",
    "openai": "a model that looks at images, behind an OpenAI-compatible endpoint (openai:NAME)",
    "scripted": "answers from a JSONL file of video_id and text (scripted:FILE), for tests",
}

_NEEDS_ARGUMENT: Final = {
    "hf": "a checkpoint, as in hf:folder or hf:org/name@revision",
    "openai": "the name that the model has at its endpoint, as in openai:gpt-4.1",
    "scripted": "a file, as in scripted:answers.jsonl",
}


def load(name: str, **options: Any) -> Model:
    """The model of that name; ``options`` go to its home.

    Raises:
        ModelError: there is no such model, or what it needs is missing.
        MissingExtra: its optional packages are not installed.
    """
    home, colon, argument = name.partition(":")
    if home not in HOMES:
        close = difflib.get_close_matches(home, HOMES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ModelError(f"{name!r} is not a model. Known: {', '.join(HOMES)}.{hint}")
    if home in _NEEDS_ARGUMENT and not argument:
        raise ModelError(f"{home!r} needs {_NEEDS_ARGUMENT[home]}.")
    if home not in _NEEDS_ARGUMENT and colon:
        raise ModelError(f"{home!r} takes nothing behind the colon, got {argument!r}.")
    module, _, attribute = HOMES[home].partition(":")
    factory: Any = import_module(module)
    for part in attribute.split("."):
        factory = getattr(factory, part)
    accepted = list(signature(factory).parameters)[bool(argument) :]
    if unknown := [option for option in options if option not in accepted]:
        takes = f"It takes {', '.join(accepted)}" if accepted else "It takes none"
        raise ModelError(f"{home!r} takes no option {unknown[0]!r}. {takes}.")
    model: Model = factory(argument, **options) if argument else factory(**options)
    return model
