"""A checkpoint from the Hugging Face hub: its commit first, then the files of that commit that can be read safely."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deeptrace.errors import MissingExtra, ModelError

WANTED: Final = ("*.json", "*.safetensors", "merges.txt")
"""What is fetched: no code, no pickles, no templates."""


@dataclass(frozen=True)
class Fetched:
    """A checkpoint's files and the commit that they are of."""

    folder: Path
    commit: str


def fetch(repo: str, revision: str | None = None) -> Fetched:
    """The files of a model at a revision (a branch, a tag, a commit; None: main), from the cache if they are there.

    A branch is resolved to its commit first and the files of that commit are fetched: it may move meanwhile. With a
    whole commit and the files in the cache the hub is not asked.

    Raises:
        ModelError: no such model or revision, or the hub cannot be reached.
        MissingExtra: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise MissingExtra("a model from the hub", "hf") from None
    commit = revision if revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision) else None
    if commit is not None:
        try:
            cached = snapshot_download(repo, revision=commit, allow_patterns=list(WANTED), local_files_only=True)
            if any(Path(cached).glob("*.safetensors")):
                return Fetched(Path(cached), commit)
        except (LocalEntryNotFoundError, OSError, HFValidationError):
            pass  # not in the cache
    try:
        if commit is None:
            commit = HfApi().model_info(repo, revision=revision).sha
        if commit is None or not re.fullmatch(r"[0-9a-f]{40}", commit):
            raise ModelError(f"the hub names no commit for {repo!r}.")
        return Fetched(Path(snapshot_download(repo, revision=commit, allow_patterns=list(WANTED))), commit)
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001 - the errors of its network client are of another package in each version
        words = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        at = f" at {revision!r}" if revision else ""
        raise ModelError(f"{repo!r}{at} cannot be fetched from the hub: {words}") from None
