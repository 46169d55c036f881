"""What embedded training writes while the system refuses: each write, open, fsync, rename of it fails in turn."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("efficientnet_lite_pytorch")
pytest.importorskip("onnx")

from deeptrace.categories import CATEGORIES  # noqa: E402
from deeptrace.inject import render_scene  # noqa: E402
from deeptrace.models.embedded.windows import BACKBONE_NAME, TRACES_NAME  # noqa: E402
from deeptrace.models.hf.staging import staged  # noqa: E402
from deeptrace.train import checkpoints  # noqa: E402
from deeptrace.train.embedded import loop  # noqa: E402
from deeptrace.train.embedded.draw import Drawn  # noqa: E402
from deeptrace.train.embedded.export import export_backbone  # noqa: E402
from deeptrace.train.embedded.finish import write_numbers  # noqa: E402
from deeptrace.train.embedded.footage import store_clip  # noqa: E402
from deeptrace.train.embedded.recipe import EmbeddedRecipe  # noqa: E402
from deeptrace.train.embedded.spool import load_pair, save_pair  # noqa: E402
from deeptrace.video import write_video  # noqa: E402
from tests.failing_os import EVERY_CALL, FEW, REFUSALS, attack  # noqa: E402
from tests.train.test_embedded import recipe_for  # noqa: E402

MOST = 10_000 if EVERY_CALL else 2
# A run takes seconds: a full disk while the first checkpoint is written, and a name that is refused.
RUN = REFUSALS if EVERY_CALL else (FEW[0], FEW[3])
STEPS = 2
ROWS, COLUMNS, COUNT = 6, 8, 24


def features(images: np.ndarray) -> dict[str, np.ndarray]:
    """Of the shapes that the frozen backbone gives, for a window of 48 x 64 pixels."""
    level = np.float16(images.mean() / 255)
    shapes = {"fine": (40, ROWS, COLUMNS), "coarse": (112, ROWS // 2, COLUMNS // 2)}
    shapes |= {"aux": (13, 2 * ROWS, 2 * COLUMNS), "flow": (2, ROWS, COLUMNS)}
    return {name: np.full((COUNT, *shape), level) for name, shape in shapes.items()}


def write_pair(path: Path, onset: int = 4) -> None:
    images = np.full((COUNT, 48, 64, 3), 90, np.uint8)
    mask = np.zeros((COUNT, 48, 64), np.uint8)
    mask[onset:, 8:32, 8:40] = 1
    boxes = np.full((COUNT, 4), np.nan)
    boxes[onset:] = (8 / 64, 8 / 48, 40 / 64, 32 / 48)
    drawn = Drawn(images + 9, images, images, mask * np.uint8(255), boxes, onset, CATEGORIES[3], "camera/a", True, {})
    save_pair(path, drawn, features, sham=False)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[EmbeddedRecipe, Path]:
    """A recipe, and a run's folder with its clips read and all its pairs made."""
    footage, out = tmp_path_factory.mktemp("footage"), tmp_path_factory.mktemp("begun")
    rows = []
    for k, source in enumerate(("camera/a", "camera/d")):
        write_video(footage / f"{k}.mp4", render_scene(k, size_hw=(144, 256), fps=16, seconds=2.0).frames)
        rows.append({"path": f"{k}.mp4", "class": "real", "source_repo": source, "license": "MIT"})
        rows[-1] |= {"sha256": f"{k}" * 64, "generator": None}
    loop.write_jsonl(footage / "manifest.jsonl", rows)
    recipe = recipe_for(footage, steps=STEPS, save_every=1, threads=1, validation_clips=[], test_sources=[])
    loop.make_material(recipe, out)
    (out / loop.BACKBONE_NAME).touch()  # only the makers of pairs read it
    for step in range(STEPS):
        for index in loop.batch_indices(recipe, step):
            path = loop.pair_path(loop.make_folder(out / "spool"), index)
            if not path.exists():
                write_pair(path)
    return recipe, out


def test_a_run_goes_on_to_the_same_weights(
    begun: tuple[EmbeddedRecipe, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, prepared = begun

    @contextlib.contextmanager
    def nobody(recipe: EmbeddedRecipe, out: Path) -> Iterator[list[object]]:
        yield []  # every pair is there

    monkeypatch.setattr(loop, "making_pairs", nobody)

    def before(folder: Path) -> None:
        shutil.copytree(prepared, folder, dirs_exist_ok=True)

    def kept(folder: Path) -> None:
        for checkpoint in checkpoints.checkpoints(folder):
            loop.read_checkpoint(checkpoint)

    log: list[str] = []
    weights: list[dict[str, torch.Tensor]] = []

    def done(folder: Path) -> None:
        states = [loop.read_checkpoint(path) for path in checkpoints.checkpoints(folder)]
        assert [state["step"] for state in states] == [1, 2]
        weights.append(states[-1]["average"])
        assert all(torch.equal(value, weights[0][name]) for name, value in weights[-1].items())
        log.append((folder / loop.LOG_NAME).read_text())
        assert log[-1] == log[0]  # the losses of steps before the refusal too

    def flow(folder: Path) -> None:
        loop.train(recipe, folder)

    found = attack(
        tmp_path / "w", flow, before=before, kept=kept, done=done, refusals=RUN, most=10_000 if EVERY_CALL else 1
    )
    assert found.tries["write: ENOSPC from then on"] >= 1


def test_a_pair_is_whole_or_not_there(tmp_path: Path) -> None:
    def flow(folder: Path) -> None:
        write_pair(folder / "0000001.npz")

    def kept(folder: Path) -> None:
        for path in folder.iterdir():
            load_pair(path)

    attack(tmp_path / "w", flow, kept=kept, refusals=FEW, most=MOST)


def test_a_clip_is_read_once_and_whole(begun: tuple[EmbeddedRecipe, Path], tmp_path: Path) -> None:
    footage = Path(begun[0].footage)

    def flow(folder: Path) -> None:
        with loop.writing(folder):
            assert store_clip(footage / "0.mp4", "key", folder / "pool") is not None

    attack(tmp_path / "w", flow, refusals=FEW, most=MOST)


@pytest.mark.skipif(not EVERY_CALL, reason="an export takes seconds; set DEEPTRACE_EVERY_CALL")
def test_the_result_is_whole_or_not_there(tmp_path: Path) -> None:
    """The ONNX files, their numbers, and the folder's name; here of the backbone alone, which is quicker."""

    def flow(folder: Path) -> None:
        with loop.writing(folder), staged(folder / "final", "finishing") as work:
            for name in (BACKBONE_NAME, TRACES_NAME):
                export_backbone(work / name)
            write_numbers(work, {"thresholds": [0.3, 0.7]})

    def kept(folder: Path) -> None:
        assert not (folder / "final").exists()

    attack(tmp_path / "w", flow, kept=kept, most=MOST)
