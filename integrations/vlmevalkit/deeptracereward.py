"""The VLMEvalKit dataset class: our question, our answer format, our metrics; see `deeptrace.bench.harness`.

Written after the kit's documented contract (``vlmeval/dataset/video_base.py``). Import it where vlmeval is installed
and call `register` before ``run.py`` looks for the class.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
import vlmeval.dataset
from vlmeval.dataset.video_base import VideoBaseDataset

from deeptrace.bench import harness
from deeptrace.files import dumps, write_text


class DeeptraceReward(VideoBaseDataset):
    """Is the video fake, where, since when. Use ``fps``: ``nframe`` skips the first frame, where traces begin."""

    TYPE = "Video-VQA"
    FORMAT = harness.DEFAULT_FORMAT

    def __init__(self, dataset: str = "DeeptraceReward", pack: bool = False, nframe: int = 0, fps: float = -1) -> None:
        if nframe:
            raise ValueError("nframe skips the first and the last frame; give fps")
        super().__init__(dataset=dataset, pack=pack, nframe=nframe, fps=fps)

    @classmethod
    def supported_datasets(cls) -> list[str]:
        """The one name."""
        return ["DeeptraceReward"]

    def prepare_dataset(self, dataset: str) -> dict[str, str]:
        """The videos' folder and the TSV that ``export.py`` wrote."""
        return {"root": os.environ["DEEPTRACE_VIDEOS"], "data_file": os.environ["DEEPTRACE_TSV"]}

    def build_prompt(self, line: Any, video_llm: bool) -> list[dict[str, Any]]:
        """The video or its frames, then the question."""
        if isinstance(line, int):
            line = self.data.iloc[line]
        if video_llm:
            shown = [{"type": "video", "value": str(Path(self.data_root) / f"{line['video']}.mp4")}]
        else:
            shown = [{"type": "image", "value": path} for path in self.save_video_frames(line["video"])]
        return [*shown, {"type": "text", "value": line["question"]}]

    @classmethod
    def evaluate(cls, eval_file: str, **judge_kwargs: Any) -> dict[str, Any]:
        """Every metric in [0, 1] with its weight, also written beside ``eval_file``. No judge is asked."""
        from vlmeval.smp import load

        found: dict[str, list[harness.Worth]] = {name: [] for name in harness.METRICS}
        table: pd.DataFrame = load(eval_file)
        for _, line in table.iterrows():
            said = "" if pd.isna(line["prediction"]) else str(line["prediction"])
            for name, worth in harness.worth(harness.record_of(line), said, cls.FORMAT).items():
                found[name].append(worth)
        scores = {name: {"value": harness.mean(w), "weight": sum(x.weight for x in w)} for name, w in found.items()}
        path = Path(eval_file)
        write_text(path.with_name(f"{path.stem}_score.json"), dumps(scores, indent=1) + "\n")
        return scores


def register() -> None:
    """Make the class one of ``vlmeval.dataset``, where ``run.py --data-config`` looks for it."""
    vlmeval.dataset.DeeptraceReward = DeeptraceReward
