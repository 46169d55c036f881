"""Raw annotation tags onto the nine categories."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import deeptrace
from deeptrace.bench.score.totals import COLUMNS
from deeptrace.categories import CATEGORIES, FACTS, read_tags
from deeptrace.inject import inject, render_scene
from deeptrace.inject.plan import plan_pair

SOURCE: Final = Path(deeptrace.__file__).parent


@pytest.mark.parametrize(
    ("tag", "category"),
    [
        ("unexpected move for still things (e.g. trail moves)", "Unexpected Move"),
        ("Shape distortion (e.g. human arm bending as rubbery)", "Object Distortion"),
        ("merging (e.g. two objects merge into one.)", "Object Merging"),
        ("splitting (e.g. one object splits into two)", "Object Splitting"),
        ("overlap background distortion (e.g. because of object movement)", "Background Distortion"),
        ("weird motion (e.g. unnatural movement paths / patterns)", "Object Trajectory"),
        ("Blurring (e.g. sudden blurring)", "Sudden Blurring"),
        ("  Sudden  Disappearance ", "Object Disappearance"),
        ("sudden appearance of a thing", "Redundant Object"),
        *((c, c) for c in CATEGORIES),
        *((c.lower().replace(" ", "_"), c) for c in CATEGORIES),
    ],
)
def test_known_tags(tag: str, category: str) -> None:
    tags = read_tags([tag])
    assert tags.categories == (category,)
    assert tags.unknown == ()


def test_unknown_tags_are_kept_and_none_of_the_above_is_known() -> None:
    tags = read_tags(["weird light", "Blurring (e.g. x)", "None of the above, but I've written in the explanations"])
    assert tags.categories == ("Sudden Blurring",)
    assert tags.unknown == ("weird light",)


def test_categories_come_once_and_in_one_order() -> None:
    tags = read_tags(["merging", "Blurring", "merging (e.g. two objects merge into one.)"])
    assert tags.categories == ("Sudden Blurring", "Object Merging")
    assert len(CATEGORIES) == 9


def test_every_category_has_its_facts_and_a_colour_of_its_own() -> None:
    assert tuple(FACTS) == CATEGORIES
    assert len({facts.color for facts in FACTS.values()}) == len(FACTS)
    assert sum(facts.share for facts in FACTS.values()) == pytest.approx(100)
    for category, facts in FACTS.items():
        assert read_tags([facts.tag]).categories == (category,)
        light = luminance(facts.color)
        assert min((light + 0.05) / 0.05, 1.05 / (light + 0.05)) >= 3, category


def luminance(color: tuple[int, int, int]) -> float:
    """Relative luminance of an sRGB colour (WCAG 2.2): 0 black, 1 white."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (value / 255 for value in color)]
    return sum(share * v for share, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


# A tenth category as a contributor would add it: an entry in `categories.py` and a file in `inject`, nothing else.
ENTRY: Final = """
    "Light Flicker": CategoryFacts(
        meaning="the light on a thing goes on and off",
        doubt="a lamp or a screen really flickers there",
        family="texture",
        share=0.0,
        tag="light flicker (e.g. brightness jumps)",
        tag_starts=("light flicker",),
        color=(0x5B, 0x8C, 0x1F),
    ),
"""
EDIT: Final = """
import numpy as np

from deeptrace.inject.blend import feather, over
from deeptrace.inject.shot import CategoryEdit, Edit, Picture


def light_flicker(shot, thing, rng):
    def roi(moment):
        return shot.around(thing, moment.index, 4 * shot.px)

    def paint(moment, where):
        picture = shot.patch(moment.index, where)
        alpha = feather(thing.matte(moment.index, where), shot.px)
        side = 1.0 if int(6 * moment.since_seconds) % 2 else -1.0
        gain = 1.0 if moment.sham else 2.0 ** (side * moment.level)
        return Picture(over(picture, np.clip(picture * gain, 0, 255).astype(np.float32), alpha), alpha)

    return Edit(thing, roi, paint, "flickers, while the light around it stays", {})


CATEGORY_EDIT = CategoryEdit(light_flicker)
"""
LOOK: Final = """
import hashlib, json, sys
from deeptrace.answer import QUESTIONS
from deeptrace.bench.score.totals import COLUMNS
from deeptrace.categories import CATEGORIES, FACTS, read_tags
from deeptrace.inject import inject, render_scene
from deeptrace.inject.plan import plan_pair, share_of
from deeptrace.models import load
from deeptrace.pages.overlay import PALETTE

scene = render_scene(3)
new, old = (inject(scene.frames, c, seed=3, things=scene.things) for c in (CATEGORIES[-1], CATEGORIES[0]))
plans = [plan_pair(5, number) for number in range(20)]
nine = [plan_pair(5, number, CATEGORIES[:9]) for number in range(20)]
[outcome] = load("embedded").inspect([new.fake])
print(json.dumps({
    "categories": CATEGORIES,
    "trace": new.trace.categories,
    "old": hashlib.sha256(old.fake.images.tobytes()).hexdigest(),
    "nine": hashlib.sha256(repr(nine).encode()).hexdigest(),
    "tags": read_tags(["Light_flicker", "light flicker (at night)"]).categories,
    "color": PALETTE.count(FACTS[CATEGORIES[-1]].color),
    "last in the paper's prior": all(p.categories[-1] == CATEGORIES[-1] for p in plans if p.prior == "paper"),
    "shares": [share_of(CATEGORIES[-1], "uniform"), share_of(CATEGORIES[-1], "paper", CATEGORIES[-1:])],
    "not asked for": [c for words in QUESTIONS.values() if "Object" in words for c in CATEGORIES if c not in words],
    "columns": [name for name in COLUMNS if name.endswith("_9")],
    "outcome": [type(outcome).__name__, outcome.p_fake],
}))
"""


def test_a_tenth_category_is_an_entry_and_a_file(tmp_path: Path) -> None:
    package = tmp_path / "deeptrace"
    shutil.copytree(SOURCE, package, copy_function=os.symlink)
    facts = (SOURCE / "categories.py").read_text()
    facts = _with(facts, '    "Unexpected Move",\n', '    "Light Flicker",\n', before="]\n")
    facts = _with(facts, "    ),\n", ENTRY.removeprefix("\n"), before='}\n"""A new category stands at the end')
    (package / "categories.py").unlink()
    (package / "categories.py").write_text(facts)
    (package / "inject" / "light_flicker.py").write_text(EDIT)
    env = os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ten = json.loads(done.stdout)
    assert ten["categories"] == [*CATEGORIES, "Light Flicker"]
    assert ten["trace"] == ten["tags"] == ["Light Flicker"]
    scene = render_scene(3)
    old = inject(scene.frames, CATEGORIES[0], seed=3, things=scene.things)
    assert ten["old"] == hashlib.sha256(old.fake.images.tobytes()).hexdigest()
    plans = [plan_pair(5, number) for number in range(20)]
    assert ten["nine"] == hashlib.sha256(repr(plans).encode()).hexdigest()
    assert ten["color"] == 1
    assert ten["last in the paper's prior"]
    assert ten["shares"] == [0.1, 1.0]
    assert ten["not asked for"] == []
    assert len(ten["columns"]) == len([name for name in COLUMNS if name.endswith("_8")])
    assert ten["outcome"][0] == "Verdict"
    assert 0 <= ten["outcome"][1] <= 1


def _with(text: str, after: str, addition: str, *, before: str) -> str:
    """The text with an addition between two pieces that stand together once."""
    assert text.count(after + before) == 1
    return text.replace(after + before, after + addition + before)
