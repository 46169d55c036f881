"""The card of an injected dataset: what it is made of, how, and what must not be read into it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


def card(rows: Sequence[Mapping[str, Any]], failed: Mapping[str, int], settings: Mapping[str, Any]) -> str:
    """The README.md of a dataset, from its ``{"fake", "real"}`` rows, counts of failures by code, and its settings."""
    fakes, reals = [row["fake"] for row in rows], [row["real"] for row in rows]
    categories = Counter(row["inject_category"] for row in fakes)
    shams = sum(bool(row["sham"]) for row in reals)
    lines = [
        "# Injected traces",
        "",
        f"{len(rows)} pairs: a video with one fake trace at a known place and time, and its twin without. Made by"
        " `deeptrace inject`; `all_data.json` is in the layout of RewardData, with these further fields:",
        "",
        "| field | meaning |",
        "|---|---|",
        "| `inject_category`, `inject_params` | what was put in and with which numbers, strength and seed included |",
        "| `inject_track` | the box in each frame (fractions of the frame, seconds) |",
        "| `inject_twin` | `video_id` of the other video of the pair |",
        "| `sham` | on real videos: the same edit was made and shows nothing |",
        "| `inject_original` | of some pairs with a sham: the clip before both edits, a file without a row |",
        "| `inject_source`, `inject_source_facts` | the footage, and what a manifest says of it |",
        "| `inject_prior` | whether category and times were drawn as in the paper or uniformly |",
        "",
        f"- Real twins with a sham edit: {shams} of {len(rows)}.",
        f"- Settings: {', '.join(f'{name} {value}' for name, value in settings.items())}.",
        "- Splits are by source: clips of one source are on one side only.",
        "- **Strengths are not calibrated on people**: nobody was asked how well a trace of a given strength is seen.",
        '- Masks come from motion and contrast, not from understanding: an "object" may be a part of one.',
        "- The track's box holds all that changed, the place that a moved thing left included.",
    ]
    lines += [f"- Pairs that could not be made: {count} x {code}." for code, count in sorted(failed.items())]
    lines += ["", "| category | pairs |", "|---|---|"]
    lines += [f"| {name} | {count} |" for name, count in categories.most_common()]
    lines += ["", "## Sources", "", "| source | pairs | licence |", "|---|---|---|"]
    scenes = [row for row in fakes if "scene_seed" in row["inject_footage"]]
    footage = [row for row in fakes if "scene_seed" not in row["inject_footage"]]
    licences = {row["inject_source"]: (row.get("inject_source_facts") or {}).get("license") for row in footage}
    for name, count in sorted(Counter(row["inject_source"] for row in footage).items()):
        lines.append(f"| {_cell(name)} | {count} | {_cell(licences[name] or 'not stated')} |")
    if scenes:
        lines.append(f"| rendered scenes | {len(scenes)} | that of the pictures below; painted ones are free of any |")
    lines += ["", "The licence of each source applies to the videos made from it."]
    pictures = Counter(
        name for row in scenes for name in (row["inject_footage"]["backdrop"], *row["inject_footage"]["cutouts"])
    )
    if pictures:
        lines += ["", "Pictures in the rendered scenes, with the number of pairs:", ""]
        lines.append(", ".join(f"{_cell(name)} ({count})" for name, count in sorted(pictures.items())) + ".")
    lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Names come from strangers: nothing in them may end a cell or begin markup."""
    return "".join(c if c.isprintable() and c not in "|<>[]`\\" else "_" for c in text)
