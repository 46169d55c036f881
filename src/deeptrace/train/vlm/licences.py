"""Licences of weights and data, and which of several binds most. A table, no legal advice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_ORDER: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("permissive", ("cc0", "public-domain", "mit", "bsd", "apache", "cc-by-3", "cc-by-4", "isc", "unlicense")),
    ("share alike", ("cc-by-sa", "odbl", "gpl", "lgpl", "agpl", "mpl")),
    ("restricted use", ("openrail", "llama", "gemma", "qwen", "terms")),
    ("no derivatives", ("cc-by-nd",)),
    ("non-commercial", ("cc-by-nc", "research", "non-commercial", "noncommercial")),
)
UNKNOWN: Final = "unknown: permits nothing until its owner says so"
"""What a licence is called that is not in the table; it binds more than any that is."""


def kind_of(licence: str) -> str:
    """The kind of a licence, by how its name begins. "cc-by-nc-sa-4.0" is non-commercial."""
    name = "-".join(licence.strip().lower().replace("_", "-").split())
    for kind, starts in reversed(_ORDER):
        if any(name.startswith(start) for start in starts):
            return kind
    return UNKNOWN


def strictest(licences: Iterable[str]) -> tuple[str, str]:
    """The licence that binds most, and its kind; of several the first. What is made of all is bound by it at least."""
    ranks = {kind: rank for rank, (kind, _) in enumerate(_ORDER)}
    licence = max(licences, key=lambda licence: ranks.get(kind_of(licence), len(_ORDER)))
    return licence, kind_of(licence)
