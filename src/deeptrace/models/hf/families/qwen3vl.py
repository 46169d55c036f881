"""Qwen 3 VL: a time in words before each pair of frames, boxes in 0 to 1000."""

from __future__ import annotations

from typing import Any, ClassVar

from typing_extensions import override

from deeptrace.models.base import Sampling
from deeptrace.models.hf.checkpoint import SpaceKind
from deeptrace.models.hf.families.base import Family, KnownClasses, Part, TinySizes


class Qwen3VL(Family):
    """``<0.2 seconds>`` (the mean of the pair's two times) before each pair, then the question; no system prompt.

    ``size`` bounds the pixels of all frames together; a frame has at most 768 tokens besides.
    """

    name = "qwen3-vl"
    model_type = "qwen3_vl"
    classes: ClassVar[KnownClasses] = KnownClasses(
        text=frozenset({"qwen3_vl_text"}),
        vision=frozenset({"qwen3_vl_vision", "qwen3_vl"}),
        processors=frozenset({"Qwen3VLProcessor"}),
        image_processors=frozenset({"Qwen2VLImageProcessor", "Qwen2VLImageProcessorFast", "Qwen2VLImageProcessorPil"}),
        video_processors=frozenset({"Qwen3VLVideoProcessor"}),
    )
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

    @override
    def render_video(self) -> str:
        """A bare placeholder: the processor puts the vision marks around each pair of frames itself.

        The released template has a second pair of marks around it, which older processors replaced and newer ones keep,
        so that marks would stand within marks, which no released weights have seen.
        """
        return "<|video_pad|>"

    @override
    def time_text(self, seconds: float) -> str:
        """The time before a pair of frames, and the marks around its tokens."""
        return f"<{seconds:.1f} seconds><|vision_start|><|vision_end|>"

    @classmethod
    @override
    def tiny(cls, sizes: TinySizes, tokenizer: Any) -> tuple[Any, Any]:
        """See `Family.tiny`."""
        import transformers

        config = transformers.Qwen3VLConfig(
            text_config={
                **sizes.text(),
                "head_dim": 32,
                "rope_parameters": {
                    "rope_type": "default",
                    "mrope_section": [6, 5, 5],
                    "mrope_interleaved": True,
                    "rope_theta": 5e6,
                },
            },
            vision_config={
                "hidden_size": sizes.vision_hidden_size,
                "intermediate_size": 2 * sizes.vision_hidden_size,
                "depth": sizes.vision_layers,
                "num_heads": sizes.vision_hidden_size // 24,
                "out_hidden_size": sizes.hidden_size,
                "deepstack_visual_indexes": [0],
                "num_position_embeddings": 64,
                "initializer_range": sizes.initializer_range,
            },
        )
        processor = transformers.Qwen3VLProcessor(
            transformers.Qwen2VLImageProcessor(patch_size=16),
            tokenizer,
            transformers.Qwen3VLVideoProcessor(size=cls.released_size, cap_pixels_per_frame=True),
        )
        return config, processor
