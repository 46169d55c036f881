"""Training of the embedded model from nothing but clips: steps, a kill, a restart, and a model that loads."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrace.data import load_records
from deeptrace.data.example import make_example
from deeptrace.errors import RecipeError, TrainError
from deeptrace.inject import render_scene
from deeptrace.models.embedded import EmbeddedModel
from deeptrace.models.embedded.calibration import DetailHead, evidence_of_clip, pool_evidence, sigmoid
from deeptrace.models.embedded.windows import DETAIL, LOOK
from deeptrace.records import Verdict
from deeptrace.train import load_recipe, train
from deeptrace.train.checkpoints import checkpoints
from deeptrace.train.recipe import build, to_toml
from deeptrace.video import write_video
from tests.commands import start_command

torch = pytest.importorskip("torch")
pytest.importorskip("efficientnet_lite_pytorch")
pytest.importorskip("onnx")

from deeptrace.train.embedded import EmbeddedRecipe, loop  # noqa: E402
from deeptrace.train.embedded.draw import COUNT, PairMaterial, draw_pair, size_of  # noqa: E402
from deeptrace.train.embedded.finish import head_of, heads_of  # noqa: E402
from deeptrace.train.embedded.footage import PoolClip, Stored, load_pool, validation_clips  # noqa: E402
from deeptrace.train.embedded.generated import Looks, families_of  # noqa: E402
from deeptrace.train.embedded.loop import BACKBONE_NAME, batch_indices, make_material  # noqa: E402
from deeptrace.train.embedded.recorded import Recorded  # noqa: E402
from deeptrace.train.embedded.targets import make_targets  # noqa: E402
from deeptrace.train.embedded.thresholds import (  # noqa: E402
    FALSE_ALARMS,
    MISSES,
    ClipOutputs,
    above,
    fit_thresholds,
)

pytestmark = [pytest.mark.recipe, pytest.mark.timeout(900)]


STEPS = 2  # one of them on crops


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine short clips of six sources, of one window each but the fifth; the label is only a word here."""
    root = tmp_path_factory.mktemp("footage")
    rows = []
    for k, (source, label) in enumerate(
        [(f"camera/{name}", "real") for name in "abcde"] + [(f"maker/{name}", "fake") for name in "xyxy"]
    ):
        path = root / f"{k}.mp4"
        write_video(path, render_scene(k, size_hw=(144, 256), fps=16, seconds=3.5 if k == 4 else 3.0).frames)
        rows.append(
            {
                "path": path.name,
                "class": label,
                "generator": source if label == "fake" else None,
                "source_repo": source,
                "license": "MIT" if k % 2 else "CC-BY-4.0",
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
        )
    (root / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def recipe_for(footage: Path, **changes: object) -> EmbeddedRecipe:
    small = {
        "kind": "embedded",
        "footage": str(footage),
        "validation_sources": ["camera/d"],
        "validation_clips": ["2"],
        "test_sources": ["camera/e"],
        "scene_share": 0.0,
        "steps": STEPS,
        "pairs": 2,
        "fresh": 1,
        "ring": 64,
        "ahead": 1,
        "width": 32,
        "warmup": 1,
        "whole_from": 1,
        "save_every": 1,
        "validation_pairs": 2,
        "refit_epochs": 2,
    }
    return build(EmbeddedRecipe, small | changes, "test")


def write_recipe(path: Path, recipe: EmbeddedRecipe) -> Path:
    path.write_text(to_toml(recipe))
    return path


@pytest.fixture(scope="module")
def finished(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two steps; the clips that others hold out by source are held out by name."""
    folder = tmp_path_factory.mktemp("run")
    recipe = recipe_for(footage, validation_sources=[], validation_clips=["2", "3"])
    train(write_recipe(folder / "recipe.toml", recipe), folder / "out")
    return folder / "out"


def test_the_result_is_a_model(finished: Path, footage: Path) -> None:
    model = EmbeddedModel(str(finished / "final"))
    (verdict,) = model.inspect([footage / "4.mp4"])
    assert isinstance(verdict, Verdict)
    assert verdict.p_trace is not None
    assert [row["step"] for row in map(json.loads, (finished / "log.jsonl").read_text().splitlines())] == [STEPS]


def test_the_onnx_files_say_what_the_net_says(finished: Path) -> None:
    from deeptrace.models.embedded.inputs import prepare
    from deeptrace.models.embedded.windows import LOOK_PARTS, Network
    from deeptrace.train.embedded.export import Saying, Seeing
    from deeptrace.train.embedded.network import KindHead, TraceNet

    net = TraceNet(32)
    net.load_state_dict(torch.load(finished / f"checkpoint-{STEPS}/state.pt", weights_only=True)["average"])
    images = render_scene(50, size_hw=(144, 192), seconds=2).frames.images
    inputs = prepare(images)
    seeing = Seeing().eval()
    with torch.no_grad():
        fine, coarse, _, look, detail = seeing(torch.from_numpy(inputs.rgb))
        said = Saying(net.eval(), KindHead(32).eval())(
            fine, coarse, torch.from_numpy(inputs.aux), torch.from_numpy(inputs.flow)
        )
    network = Network(finished / "final")
    found = network(images)
    assert found.clip == pytest.approx(float(said[4]), abs=0.02)
    assert np.abs(found.trace - said[0].numpy()).max() < 0.05  # weights are kept in half precision
    assert np.abs(found.look[: LOOK_PARTS["motion"].start] - look.numpy()).max() < 0.1
    assert np.abs(network.detail(inputs.rgb) - detail.numpy()).max() < 0.1
    # The means at stride 16 and 32 are those of the look.
    shared = [detail.numpy()[24 + 40 + 80 :][:112], detail.numpy()[-320:]]
    assert np.allclose(np.concatenate(shared), look.numpy(), atol=1e-5)


@pytest.mark.linux
def test_a_kill_changes_nothing(footage: Path, finished: Path, tmp_path: Path) -> None:
    """Killed after its first checkpoint and started again, a run ends with the same weights, to the bit."""
    out = tmp_path / "out"
    shutil.copytree(finished / "pool", out / "pool")  # what comes before the first step is there already
    shutil.copyfile(finished / BACKBONE_NAME, out / BACKBONE_NAME)
    recipe = write_recipe(out / "recipe.toml", recipe_for(footage))
    process = start_command("train", recipe, "--out", out, preload=("deeptrace.train.embedded.loop",), session=True)
    end = time.monotonic() + 600
    while not checkpoints(out) and time.monotonic() < end and process.poll() is None:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert checkpoints(out)
    assert not (out / "final").exists()
    loop.train(recipe_for(footage), out)  # without the fitting at the end, which follows from the weights
    states = [torch.load(folder / f"checkpoint-{STEPS}/state.pt", weights_only=True) for folder in (finished, out)]
    assert all(torch.equal(states[0]["net"][name], states[1]["net"][name]) for name in states[0]["net"])
    assert states[0]["step"] == states[1]["step"] == STEPS


def test_the_same_seed_draws_the_same_pair(footage: Path, tmp_path: Path) -> None:
    pool = load_pool(footage, tmp_path / "pool")
    assert {clip.label for clip in pool} == {"real"}
    pairs = [draw_pair((4, 2), PairMaterial(pool), (144, 256)) for _ in range(2)]
    assert np.array_equal(pairs[0].fake, pairs[1].fake)
    assert pairs[0].params == pairs[1].params
    first = pairs[0]
    assert first.fake.shape == first.sham.shape == first.clean.shape == (COUNT, 144, 256, 3)
    assert not first.mask[: first.onset].any()
    assert not np.isnan(first.boxes[first.onset]).any()


def test_licences_choose_clips(footage: Path, tmp_path: Path) -> None:
    pool = load_pool(footage, tmp_path / "pool", licenses=("MIT",))
    assert len(pool) == 2
    assert {clip.license for clip in pool} == {"MIT"}


def test_clips_held_out_by_name_do_not_train(footage: Path, tmp_path: Path) -> None:
    recipe = recipe_for(footage)
    material = make_material(recipe, tmp_path)
    assert [clip.clip_id for clip in material.clips] == ["0", "1"]
    pool = load_pool(footage, tmp_path / "pool", labels=("real", "fake"))
    assert [clip.clip_id for clip in validation_clips(pool, recipe)] == ["2", "3"]


@pytest.mark.parametrize("name", ["one", "4", "5"])
def test_a_validation_clip_is_there_to_hold_out(footage: Path, tmp_path: Path, name: str) -> None:
    """A name that no clip has, a clip of a test source, a generated clip."""
    with pytest.raises(TrainError, match=f"validation_clips: {name}: no camera clip"):
        make_material(recipe_for(footage, validation_clips=[name]), tmp_path)


def test_a_dataset_s_own_traces(tmp_path: Path) -> None:
    """A folder in RewardData's layout trains on its own traces: boxes and onsets are the annotators'."""
    make_example(tmp_path / "data", n=4)
    records = {record.video_id: record for record in load_records(tmp_path / "data")}
    recorded = Recorded.load(tmp_path / "data", tmp_path / "pool")
    assert len(recorded.fakes) <= sum(len(record.traces) for record in records.values())
    drawn = draw_pair((1, 1), PairMaterial(recorded=recorded), (144, 256))
    assert drawn.mask[drawn.onset].any()
    assert drawn.source.startswith("Demo-")


def test_targets_are_where_the_mask_is() -> None:
    mask = np.zeros((4, 144, 256), np.uint8)
    mask[2:, 40:80, 80:160] = 255
    boxes = np.full((4, 4), np.nan)
    boxes[2:] = (80 / 256, 40 / 144, 160 / 256, 80 / 144)
    targets = make_targets(mask, boxes, 2, "Sudden Blurring")
    assert targets.trace[:2].sum() == 0
    assert targets.trace[2].sum() == 50  # 40 x 80 pixels are 5 x 10 cells
    assert targets.box[3] == pytest.approx([10, 5, 20, 10])
    # Something too thin to cover a fifth of a cell still has its cell.
    thin = make_targets(np.zeros_like(mask), boxes, 2, "Sudden Blurring")
    assert thin.trace[2].sum() == 1


def test_a_recipe_that_cannot_be_used(footage: Path, tmp_path: Path) -> None:
    table = asdict(recipe_for(footage)) | {"fresh": 9, "width": 30, "test_sources": ("camera/d",)}
    table = {key: value for key, value in table.items() if value is not None}
    with pytest.raises(RecipeError) as caught:
        build(EmbeddedRecipe, table, "bad.toml")
    assert len(caught.value.problems) == 4
    with pytest.raises(RecipeError, match="fresh: 6 does not divide 16"):
        recipe_for(footage, pairs=8, fresh=6)
    with pytest.raises(RecipeError, match="refit_pairs"):  # a category head that was never fitted would name at random
        recipe_for(footage, refit_pairs=0)


@pytest.mark.parametrize("fresh", [1, 2, 4, 8, 16])
def test_the_pairs_of_a_step_are_of_one_size(footage: Path, fresh: int) -> None:
    recipe = recipe_for(footage, pairs=20, fresh=fresh, ring=200)
    for step in range(200):
        assert len({size_of(index) for index in batch_indices(recipe, step)}) == 1


@pytest.mark.parametrize("what", ["missing", "text", "another width", "not a checkpoint"])
def test_a_stage_that_cannot_begin_says_so_before_any_clip_is_read(
    footage: Path, finished: Path, tmp_path: Path, what: str
) -> None:
    start = tmp_path / "start.pt"
    changes: dict[str, object] = {"start_from": str(start)}
    if what == "text":
        start.write_bytes(b"no checkpoint" * 100)
    elif what == "not a checkpoint":
        torch.save([1, 2], start)
    elif what == "another width":
        start.write_bytes((finished / f"checkpoint-{STEPS}/state.pt").read_bytes())
        changes["width"] = 48
    recipe = write_recipe(tmp_path / "recipe.toml", recipe_for(footage, **changes))
    with pytest.raises(TrainError, match=r"start\.pt"):
        train(recipe, tmp_path / "out")
    assert not (tmp_path / "out/pool").exists()


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from("abcdefghij")), min_size=1, max_size=60),
    st.floats(0.01, 0.99),
)
def test_a_threshold_leaves_no_more_than_the_share_above_it(clips: list[tuple[float, str]], share: float) -> None:
    """The share is the mean over families, one more of which may lie above it altogether."""

    def risk(threshold: float) -> float:
        shares = [
            np.mean([value >= threshold for value, of in clips if of == name]) for name in {of for _, of in clips}
        ]
        return float((sum(shares) + 1) / (len(shares) + 1))

    values = [value for value, _ in clips]
    threshold = above(np.array(values), [of for _, of in clips], share)
    reached = any(value >= threshold for value in values)
    assert not reached or risk(threshold) <= share + 1e-9
    # And it is the least: the value below it cannot be reached as well.
    assert risk(max(value for value in values if value < threshold)) > share - 1e-9


def test_new_clips_reach_the_thresholds_as_seldom_as_is_promised() -> None:
    """Families of camera and of generated clips drawn anew, many times over, of one clip to nine."""
    rng = np.random.default_rng(0)

    def draw(families: int, *, is_fake: bool) -> list[ClipOutputs]:
        clips = []
        for family in range(families):
            off = rng.normal(1.5 if is_fake else -0.5, 0.8)
            for k, value in enumerate(rng.normal(off, 0.6, rng.integers(1, 10))):
                name = f"{is_fake} {family}"
                clips.append(ClipOutputs(f"{name} {k}", name, is_fake, rng.normal(-0.5, 0.7, 3), np.array([value])))
        return clips

    called_fake, called_real = [], []
    for _ in range(40):
        clips = [*draw(70, is_fake=False), *draw(45, is_fake=True)]
        numbers = fit_thresholds(clips, trace=(0.7, -0.4), generated=lambda clip: float(clip.look[0]))
        low, high = numbers["thresholds"]
        threshold = numbers["trace_threshold"]
        assert 0 < low <= high < 1

        def p_fake(
            clip: ClipOutputs, scaling: dict[str, float] = numbers["clip"], threshold: float = threshold
        ) -> float:
            trace = pool_evidence(0.7 * clip.logits - 0.4)
            joined = evidence_of_clip(trace, float(clip.look[0]), threshold=threshold)
            return sigmoid(scaling["scale"] * joined + scaling["bias"])

        for _ in range(30):
            called_fake.append(np.mean([p_fake(clip) >= high for clip in draw(1, is_fake=False)]))
            called_real.append(np.mean([p_fake(clip) < low for clip in draw(1, is_fake=True)]))
    assert np.mean(called_fake) < FALSE_ALARMS + 0.02
    assert np.mean(called_real) < MISSES + 0.03
    assert np.mean(called_real) > MISSES / 2  # the thresholds are no further apart than they need to be


def test_without_a_whole_clip_head_traces_alone_tell_real_from_fake() -> None:
    """As of a dataset's own pairs, each clip for itself: most of either kind get a conclusion, and the right one."""
    rng = np.random.default_rng(0)
    clips = [
        ClipOutputs(
            f"{is_fake} {k}", f"{is_fake} {k}", is_fake, rng.normal(2.0 if is_fake else -2.0, 1.0, 1), np.zeros(1)
        )
        for is_fake in (False, True)
        for k in range(60)
    ]
    numbers = fit_thresholds(clips, trace=(1.0, 0.0), generated=None)
    assert "promised" not in numbers
    low, high = numbers["thresholds"]

    def p_fake(clip: ClipOutputs) -> float:
        both = evidence_of_clip(float(clip.logits[0]), None, threshold=numbers["trace_threshold"])
        return sigmoid(numbers["clip"]["scale"] * both + numbers["clip"]["bias"])

    camera, fakes = ([p_fake(clip) for clip in clips if clip.is_fake is kind] for kind in (False, True))
    assert np.mean([value < low for value in camera]) > 0.8
    assert np.mean([value >= high for value in fakes]) > 0.6


def test_too_few_families_for_what_is_promised_are_said() -> None:
    clips = [ClipOutputs(f"{k}", f"{k}", k < 3, np.array([float(k)]), np.zeros(1)) for k in range(8)]
    with (
        pytest.warns(UserWarning, match=r"5 families of camera clips .* 17% .* not 8%: 12 families"),
        pytest.warns(UserWarning, match=r"3 families of generated clips .* 25% .* not 20%: 4 families"),
    ):
        numbers = fit_thresholds(clips, trace=(1.0, 0.0), generated=None)
    assert numbers["promised"] == {"false_alarms": 0.1667, "misses": 0.25}


@pytest.mark.parametrize(
    ("clips", "alike"),
    [
        ([("a/a", None, None), ("a/a", None, None), ("b/b", None, None)], [[0, 1], [2]]),
        ([("a/a", "Wan 2.1", None), ("b/b", "FastVideo", None), ("c/c", "Sora", None)], [[0, 1], [2]]),
        ([("a/a", None, "s"), ("b/b", None, "s"), ("c/c", None, None)], [[0, 1], [2]]),
        # What links two families makes them one, in whatever order the clips come.
        ([("a/a", "Wan", None), ("b/b", "Sora", None), ("a/a", "sora", None)], [[0, 1, 2]]),
        ([("v-iashin/SpecVQGAN", None, None), ("luosiallen/Diff-Foley", None, None)], [[0, 1]]),
        ([("a/a", "CogVideoX1.5", None), ("b/b", "CogVideoX", None)], [[0, 1]]),
        ([("a/a", "", None), ("b/b", None, None)], [[0], [1]]),
    ],
)
def test_families_are_what_shares_a_source_a_generator_or_a_scene(
    clips: list[tuple[str, str | None, str | None]], alike: list[list[int]]
) -> None:
    for order in (range(len(clips)), reversed(range(len(clips)))):
        places = list(order)
        names = dict(zip(places, families_of(clips[i] for i in places), strict=True))
        groups: dict[str, list[int]] = {}
        for i in range(len(clips)):
            groups.setdefault(names[i], []).append(i)
        assert sorted(groups.values()) == alike


def test_the_recipe_that_ships() -> None:
    _, recipe = load_recipe("embedded")
    assert isinstance(recipe, EmbeddedRecipe)
    assert not set(recipe.validation_sources) & set(recipe.test_sources)


def test_the_second_stage_says_what_differs() -> None:
    changes = {
        "seed": 2,
        "start_from": '"runs/embedded/checkpoint-1100"',
        "steps": 1200,
        "whole_from": 750,
        "fresh": 4,
        "learning_rate": 1e-3,
        "warmup": 60,
        "refit_pairs": 2500,
        "validation_pairs": 200,
        "ring": 3000,
    }
    assert load_recipe("embedded-stage2") == load_recipe(
        "embedded", [f"{key}={value}" for key, value in changes.items()]
    )


def test_the_third_stage_holds_out_all_that_the_first_did_and_what_judges_its_boxes() -> None:
    (_, first), (_, third) = load_recipe("embedded"), load_recipe("embedded-stage3")
    assert third.validation_sources == first.validation_sources
    assert set(first.test_sources) < set(third.test_sources)
    assert "showlab/Kiwi-Edit" in third.test_sources
    assert third.seed not in (first.seed, load_recipe("embedded-stage2")[1].seed)


def test_the_clear_recipe_takes_nothing_doubtful() -> None:
    _, recipe = load_recipe("embedded-clear")
    assert recipe.licenses == ("CC-BY-4.0",)
    assert recipe.cutouts is None
    assert recipe.validation_sources == ()
    assert len(recipe.validation_clips) == 3


# ── heads for the whole picture and for crops ───────────────────────────────────────────────────────────────────────


def seen_clips(families: int, *, telling: float, seed: int = 0) -> tuple[list[PoolClip], list[ClipOutputs]]:
    """Clips of two in each family, whose look tells a little and whose crop tells ``telling``; half are generated."""
    rng = np.random.default_rng(seed)
    pool, outputs = [], []
    for k in range(4 * families):
        is_fake, family = bool(k % 2), f"{'fake' if k % 2 else 'camera'} {k // 4}"
        look, detail = rng.normal(0, 1, LOOK), rng.normal(0, 1, DETAIL)
        look[:20] += 0.4 * is_fake
        detail[:20] += telling * is_fake
        stored = Stored(Path("none.npy"), 8.0)
        pool.append(PoolClip(f"{k}", family, "MIT", "fake" if is_fake else "real", None, Path(), stored))
        outputs.append(ClipOutputs(f"{k}", family, is_fake, np.zeros(1), look, detail))
    return pool, outputs


def looks_of(outputs: list[ClipOutputs]) -> Looks:
    return Looks(
        np.array([one.look for one in outputs]),
        np.array([one.clip_id for one in outputs]),
        np.array([one.family for one in outputs]),
        np.array([int(one.is_fake) for one in outputs]),
        np.array([""] * len(outputs)),
    )


def test_crops_that_tell_count_beside_the_whole_picture() -> None:
    pool, outputs = seen_clips(12, telling=0.8)
    heads = heads_of(head_of(looks_of(outputs)), pool, outputs)
    assert heads.detail is not None
    assert heads.counts[1] > heads.counts[0] >= 0
    assert heads.auroc is not None
    assert heads.whole.auroc is not None
    assert heads.auroc > heads.whole.auroc
    evidence = np.array([heads.unseen_evidence(one) for one in outputs])
    fake = np.array([one.is_fake for one in outputs])
    assert np.median(evidence[fake]) > 0 > np.median(evidence[~fake])
    bare = replace(outputs[1], detail=None)  # a clip without a crop is judged by its look, on a scale of its own
    assert heads.unseen_evidence(bare) == heads.whole.unseen(bare.look, bare.family)
    # What ships says of a clip what the numbers in the file say.
    numbers = heads.to_json()
    mean, weights = (np.array(numbers["detail"][name]) for name in ("mean", "weights"))
    crop = outputs[0].detail
    assert crop is not None
    said = DetailHead(mean, weights, numbers["detail"]["whole"], numbers["detail"]["bias"])
    own = heads.counts[0] * 0.7 + heads.counts[1] * float((crop - heads.detail.mean) @ heads.detail.weights)
    own += heads.counts[1] * heads.detail.bias + heads.counts[2]
    assert said.join(0.7, float((crop - mean) @ weights)) == pytest.approx(own, abs=1e-3)


def test_crops_of_too_few_families_are_left_out() -> None:
    pool, outputs = seen_clips(6, telling=0.8)
    few = [replace(one, detail=one.detail if one.family in ("fake 0", "camera 1") else None) for one in outputs]
    heads = heads_of(head_of(looks_of(outputs)), pool, few)
    assert heads.detail is None
    assert heads.to_json()["detail"] is None
    assert heads.unseen_evidence(few[0]) == heads.whole.unseen(few[0].look, few[0].family)
