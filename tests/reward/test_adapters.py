"""The reward in the shapes of trainers, held to their documented contracts and called as they call."""

from __future__ import annotations

import inspect
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from deeptrace.errors import DeepTraceError, RecordError
from deeptrace.reward import Reward
from deeptrace.reward.adapters import VideoAlignReward, flow_grpo_entry, trl_function
from tests.reward.clips import folder_of_clips, images


@pytest.fixture(scope="module")
def reward() -> Reward:
    return Reward("embedded")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return folder_of_clips(tmp_path_factory.mktemp("clips"), 2)


class DocumentedVideoAlign:
    """KwaiVGI/VideoAlign, inference.py: the signature of the call that DanceGRPO makes."""

    def reward(  # noqa: PLR0917
        self, video_paths, prompts, fps=None, num_frames=None, max_pixels=None, use_norm=True
    ):  # type: ignore[no-untyped-def]
        raise NotImplementedError


def test_video_align_is_called_as_dance_grpo_calls_it(reward: Reward, paths: list[str]) -> None:
    ours, theirs = (
        [(p.name, p.default, p.kind) for p in inspect.signature(kind.reward).parameters.values()]
        for kind in (VideoAlignReward, DocumentedVideoAlign)
    )
    assert ours == theirs
    inferencer = VideoAlignReward(reward, on_error="raise")
    answer = inferencer.reward([str(Path(paths[0]).absolute())], ["a ball"], use_norm=True)
    assert torch.tensor(answer[0]["VQ"]).dtype == torch.float32
    assert {"VQ", "MQ", "Overall", "real_prob", "n_traces", "worst_category"} <= set(answer[0])
    assert {type(answer[0][key]) for key in ("VQ", "MQ", "Overall", "real_prob", "n_traces")} == {float}
    both = inferencer.reward([f"file://{path}" for path in paths], ["a", "b"])
    assert both[0] == answer[0]
    assert both[0]["Overall"] != both[1]["Overall"]
    with pytest.raises(RecordError, match="prompts"):
        inferencer.reward(paths, ["a"])
    with pytest.raises(RecordError, match="fps"):
        inferencer.reward(paths[:1], ["a"], fps=2.0)


def test_a_failure_is_never_minus_one(reward: Reward, paths: list[str], caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DeepTraceError, match="no reward"):
        VideoAlignReward(reward, on_error="raise").reward(["absent.mp4"], ["a"])
    assert "NOT_FOUND" in caplog.text
    [row] = VideoAlignReward(reward, on_error=None).reward(["absent.mp4"], ["a"])
    assert all(math.isnan(row[key]) for key in ("VQ", "MQ", "Overall", "real_prob", "n_traces"))


def multi_score(device: str, score_dict: dict[str, float], score_functions: dict[str, object]) -> object:
    """yifan123/flow_grpo, rewards.py: how entries are made and called, and what is done with their values."""
    score_fns = {}
    for score_name in score_dict:
        factory = score_functions[score_name]
        takes = factory.__code__.co_varnames  # type: ignore[attr-defined]
        score_fns[score_name] = factory(device) if "device" in takes else factory()  # type: ignore[operator]

    def _fn(
        images: object, prompts: object, metadata: object, ref_images: object = None, only_strict: bool = True
    ) -> object:
        total_scores: list[float] = []
        details = {}
        for score_name, weight in score_dict.items():
            scores, _ = score_fns[score_name](images, prompts, metadata)
            details[score_name] = scores
            weighted = [weight * score for score in scores]
            total_scores = [a + b for a, b in zip(total_scores, weighted, strict=True)] if total_scores else weighted
        details["avg"] = total_scores
        return details, {}

    return _fn


def test_flow_grpo_makes_and_calls_the_entry(reward: Reward) -> None:
    table = {"deeptrace": flow_grpo_entry(reward, fps=25, on_error="raise")}
    reward_fn = multi_score("cpu", {"deeptrace": 2.0}, table)
    batch = torch.from_numpy(np.stack([images(), images(shift=37)])).permute(0, 1, 4, 2, 3).float() / 255
    with ThreadPoolExecutor(1) as executor:
        details, _ = executor.submit(reward_fn, batch, ["a", "b"], [{}, {}], only_strict=True).result()  # type: ignore[call-overload, arg-type]
    values = torch.as_tensor(details["avg"]).float()
    assert values.shape == (2,)
    assert torch.allclose(values, 2 * torch.as_tensor(details["deeptrace"]).float())
    with pytest.raises(RecordError, match="single images"):
        table["deeptrace"]("cpu")(torch.zeros(2, 3, 32, 32), ["a", "b"], [{}, {}])


def test_trl_gets_none_for_a_row_without_a_reward(reward: Reward, paths: list[str]) -> None:
    function = trl_function(reward)
    metrics: dict[str, float] = {}
    values = function(
        prompts=["a", "b"], completions=["one", "two"], completion_ids=[[1], [2]], trainer_state=None,
        log_extra=None, log_metric=metrics.__setitem__, video=[paths[0], "absent.mp4"], label=["x", "y"],
    )  # fmt: skip
    assert function.__name__ == "deeptrace_reward"
    assert isinstance(values[0], float)
    assert values[1] is None
    assert metrics == {"deeptrace_reward/without_reward": 0.5}
    chat = [[{"role": "assistant", "content": paths[0]}]]
    assert function(prompts=["a"], completions=chat) == values[:1]
    rewards_per_func = torch.tensor([value if value is not None else torch.nan for value in values])
    assert torch.isnan(rewards_per_func).tolist() == [False, True]
