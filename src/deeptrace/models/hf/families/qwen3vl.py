"""Qwen 3 VL: a time in words before each pair of frames, boxes in 0 to 1000."""

from __future__ import annotations

from typing import ClassVar

from deeptrace.models._families.base import Family, Part
from deeptrace.models.base import Sampling
from deeptrace.models.checkpoint import SpaceKind


class Qwen3VL(Family):
    """``<0.2 seconds>`` (the mean of the pair's two times) before each pair, then the question; no system prompt.

    ``size`` bounds the pixels of all frames together; a frame has at most 768 tokens besides.
    """

    name = "qwen3-vl"
    model_class = "Qwen3VLForConditionalGeneration"
    released_size: ClassVar[dict[str, int]] = {"shortest_edge": 4 * 32 * 32, "longest_edge": 24576 * 32 * 32}
    released_space: ClassVar[SpaceKind] = "per-mille"
    released_sampling = Sampling(fps=2.0, max_frames=768)
    released_system_prompt = ""
    parts: ClassVar[dict[Part, tuple[str, ...]]] = {
        "vision": ("model.visual.",),
        "projector": ("model.visual.merger.", "model.visual.deepstack_merger_list."),
        "language": ("model.language_model.", "lm_head."),
    }

    def render_video(self) -> str:
        """A bare placeholder: the processor puts the vision marks around each pair of frames itself.

        The released template has a second pair of marks around it, which older processors replaced and newer ones keep,
        so that marks would stand within marks, which no released weights have seen.
        """
        return "<|video_pad|>"

    def time_text(self, seconds: float) -> str:
        """The time before a pair of frames, and the marks around its tokens."""
        return f"<{seconds:.1f} seconds><|vision_start|><|vision_end|>"
