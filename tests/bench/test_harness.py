"""The benchmark inside other harnesses: the same numbers as ours, no decoder loaded, and each harness' own contract."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from deeptrace.bench import harness
from deeptrace.bench.score.runs import dataset_of, read_runs
from deeptrace.bench.score.score import score
from deeptrace.data import Records
from deeptrace.errors import AnswerError, RecordError
from deeptrace.files import read_jsonl

ROOT = Path(__file__).parents[2]


def _load(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _texts(answers: Path) -> dict[str, str]:
    return {row["video_id"]: row["text"] for _, row in read_jsonl(answers)}


def _ours(squares: Records, answers: Path) -> dict[str, float | None]:
    [run] = read_runs([answers], dataset_of(squares, "test"))
    found = score([run], dataset_of(squares, "test"), replicates=0, permutations=0).runs[0]
    metrics: dict[str, float | None] = {
        name: found.paper[name].value for name in harness.METRICS if name in found.paper
    }
    return metrics | {"viou_f1": found.fair["viou_f1"].value, "unparsed": found.counts["unparsed"] / 16}


@pytest.fixture
def exported(squares: Records, tmp_path: Path) -> Path:
    command = [sys.executable, ROOT / "integrations/export.py", squares.root, tmp_path, "--format", "trained"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([str(word) for word in command], check=True, env=environment)
    return tmp_path


def test_lmms_eval_gets_the_numbers_of_bench_score(exported: Path, squares: Records, answers: Path) -> None:
    task = _load(ROOT / "integrations/lmms_eval/deeptracereward/utils.py", "lmms_task")
    texts = _texts(answers)
    items: dict[str, list[Any]] = {}
    for _, doc in read_jsonl(exported / "test.jsonl"):
        assert Path(task.doc_to_visual(doc)[0]).is_file()
        assert task.doc_to_text(doc, {"pre_prompt": "A ", "post_prompt": " Z"}) == f"A {doc['question']} Z"
        assert "<video>" not in doc["question"]
        for name, item in task.process_results(doc, [texts[doc["video_id"]]]).items():
            assert set(item) == {"video_id", "score", "weight"}
            items.setdefault(name, []).append(item)
    ours = _ours(squares, answers)
    assert set(items) == {f"dtr_{name}" for name in harness.METRICS}
    for name, values in items.items():
        assert task.mean(values) == pytest.approx(ours[name.removeprefix("dtr_")]), name


def test_the_yaml_names_every_metric_and_only_functions_that_are_there() -> None:
    text = (ROOT / "integrations/lmms_eval/deeptracereward/deeptracereward.yaml").read_text()
    for name in harness.METRICS:
        lower = name in harness.LOWER_IS_BETTER
        assert (
            f"metric: dtr_{name}, aggregation: !function utils.mean, higher_is_better: {str(not lower).lower()}" in text
        )
    task = _load(ROOT / "integrations/lmms_eval/deeptracereward/utils.py", "lmms_task")
    for line in text.splitlines():
        if "!function utils." in line:
            assert callable(getattr(task, line.partition("!function utils.")[2].split(",")[0].strip()))


def test_the_task_loads_no_decoder() -> None:
    code = "import deeptrace.bench.harness, sys; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert not {"av", "cv2", "torch", "transformers", "decord"} & {n.partition(".")[0] for n in done.stdout.split()}


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch, exported: Path, squares: Records) -> Any:
    """The part of vlmeval that its documentation promises to a dataset class, and nothing else of it."""

    class VideoBaseDataset:
        """As ``vlmeval/dataset/video_base.py``: reads the TSV, checks columns and modes, saves frames on request."""

        def __init__(self, dataset: str, pack: bool, nframe: int, fps: float) -> None:
            if nframe > 0 and fps > 0:
                raise ValueError("fps and nframe should not be set at the same time")
            found = self.prepare_dataset(dataset)
            self.data_root, self.data_file = found["root"], found["data_file"]
            self.data = pd.read_csv(self.data_file, sep="\t")
            assert {"question", "video"} <= set(self.data.columns)
            assert "index" in self.data.columns

        def save_video_frames(self, video: str) -> list[str]:
            return [f"{video}/frame-1.jpg", f"{video}/frame-2.jpg"]

    modules = {name: types.ModuleType(name) for name in ("vlmeval", "vlmeval.dataset", "vlmeval.dataset.video_base",
                                                         "vlmeval.smp")}  # fmt: skip
    modules["vlmeval"].dataset = modules["vlmeval.dataset"]  # type: ignore[attr-defined]
    modules["vlmeval.dataset.video_base"].VideoBaseDataset = VideoBaseDataset  # type: ignore[attr-defined]
    modules["vlmeval.smp"].load = lambda path: pd.read_csv(path, sep="\t")  # type: ignore[attr-defined]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("DEEPTRACE_TSV", str(exported / "DeeptraceReward.tsv"))
    monkeypatch.setenv("DEEPTRACE_VIDEOS", str(squares.root))
    return _load(ROOT / "integrations/vlmevalkit/deeptracereward.py", "kit_dataset")


def test_vlmevalkit_gets_the_numbers_of_bench_score(kit: Any, squares: Records, answers: Path, tmp_path: Path) -> None:
    kit.register()
    dataset = sys.modules["vlmeval.dataset"].DeeptraceReward(fps=2.0)
    assert dataset.supported_datasets() == ["DeeptraceReward"]
    video, words = dataset.build_prompt(0, video_llm=True)
    assert (video["type"], words["type"]) == ("video", "text")
    assert Path(video["value"]).is_file()
    frames = dataset.build_prompt(dataset.data.iloc[1], video_llm=False)
    assert [part["type"] for part in frames] == ["image", "image", "text"]

    texts = _texts(answers)
    table = dataset.data.copy()
    table["prediction"] = [texts[json.loads(row)["video_id"]] for row in table["record"]]
    table.to_csv(tmp_path / "model.tsv", sep="\t", index=False)
    kit.DeeptraceReward.FORMAT = "trained"
    scores = kit.DeeptraceReward.evaluate(str(tmp_path / "model.tsv"))
    ours = _ours(squares, answers)
    assert {name: row["value"] for name, row in scores.items()} == pytest.approx(ours)
    assert json.loads((tmp_path / "model_score.json").read_text()) == scores


def test_a_mode_that_hides_the_first_frame_is_refused(kit: Any) -> None:
    with pytest.raises(ValueError, match="nframe"):
        kit.DeeptraceReward(nframe=8)


def test_the_tsv_has_the_columns_and_reads_back(exported: Path) -> None:
    with open(exported / "DeeptraceReward.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert tuple(rows[0]) == harness.TSV_COLUMNS
    assert len(rows) == 16
    assert rows[0]["video"] == "videos/00"
    assert json.loads(rows[0]["record"])["video_id"] == "clip 00"
    assert float(rows[0]["start"]) == 0.5


def test_what_does_not_fit_is_refused(squares: Records) -> None:
    with pytest.raises(AnswerError, match="informed"):
        harness.words_for(squares[0], "informed")
    with pytest.raises(RecordError, match="labelled"):
        harness.worth(type(squares[0])("x", label="unsure", info=squares[0].info), "REAL")


@pytest.mark.skipif(
    "DEEPTRACE_LMMS_EVAL" not in os.environ, reason="DEEPTRACE_LMMS_EVAL names no Python with lmms-eval"
)
def test_lmms_eval_itself_runs_the_task(exported: Path, tmp_path: Path) -> None:
    """The real harness, in an environment of its own (it wants av<16), with its model that answers a fixed text."""
    command = [os.environ["DEEPTRACE_LMMS_EVAL"], "-m", "lmms_eval", "--model", "dummy", "--tasks", "deeptracereward"]
    command += ["--model_args", "response=REAL", "--include_path", str(ROOT / "integrations" / "lmms_eval")]
    command += ["--batch_size", "1", "--output_path", str(tmp_path / "out")]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    environment = {**os.environ, **offline, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run(command, check=True, cwd=exported, env=environment, timeout=900)
    [file] = (tmp_path / "out").rglob("*results.json")
    [results] = json.loads(file.read_text())["results"].values()
    measured = {key.partition(",")[0]: value for key, value in results.items() if key.startswith("dtr_")}
    assert measured["dtr_real_accuracy"] == 1.0
    assert measured["dtr_fake_accuracy"] == 0.0
    assert measured["dtr_time_distance"] == 1.0
