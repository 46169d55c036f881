"""VideoLLaMA 3 (2B, 7B): a time in words before each frame, boxes in 0 to 1000, still patches dropped."""

from __future__ import annotations

from typing import Any, ClassVar

from typing_extensions import override

from deeptrace.models.base import Sampling
from deeptrace.models.hf.checkpoint import SpaceKind
from deeptrace.models.hf.families.base import Family, KnownClasses, Part, TinySizes


class VideoLlama3(Family):
    """``Time 0.0s:<frame>,Time 0.5s:<frame>`` and a new line, then the question.

    ``size`` bounds one frame from below and all frames together from above (16 and 16,384 tokens of 28 x 28 pixels).
    Tokens of patches that stay as they were in the frame before are left out where the checkpoint says so
    (``use_token_compression``), so that `VisionSize.tokens` is the most that there can be.
    """

    name = "videollama3"
    model_type = "video_llama_3"
    classes: ClassVar[KnownClasses] = KnownClasses(
        text=frozenset({"qwen2"}),
        vision=frozenset({"video_llama_3_vision"}),
        processors=frozenset({"VideoLlama3Processor", "Videollama3Qwen2Processor"}),
        image_processors=frozenset(
            {
                "VideoLlama3ImageProcessor",
                "VideoLlama3ImageProcessorFast",
                "VideoLlama3ImageProcessorPil",
                "Videollama3ImageProcessor",
            }
        ),
        video_processors=frozenset({"VideoLlama3VideoProcessor", "Videollama3VideoProcessor"}),
    )
    model_class = "VideoLlama3ForConditionalGeneration"
    released_size: ClassVar[dict[str, int]] = {"shortest_edge": 16 * 28 * 28, "longest_edge": 16384 * 28 * 28}
    released_space: ClassVar[SpaceKind] = "per-mille"
    released_sampling = Sampling(fps=1.0, max_frames=180)
    released_system_prompt = (
        "You are VideoLLaMA3 created by Alibaba DAMO Academy, a helpful assistant to help people understand images "
        "and videos."
    )
    parts: ClassVar[dict[Part, tuple[str, ...]]] = {
        "vision": ("model.vision_model.",),
        "projector": ("model.projector.",),
        "language": ("model.language_model.", "lm_head."),
    }

    @override
    def render_video(self) -> str:
        """One placeholder and the new line that ends the frames."""
        return "<|video_pad|>\n"

    @override
    def time_text(self, seconds: float) -> str:
        """The time before a frame, and the comma behind it."""
        return f"Time {seconds:.1f}s:,"

    @classmethod
    @override
    def tiny(cls, sizes: TinySizes, tokenizer: Any) -> tuple[Any, Any]:
        """See `Family.tiny`."""
        import transformers

        config = transformers.VideoLlama3Config(
            text_config={
                "model_type": "qwen2",
                **sizes.text(),
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
            },
            vision_config={
                "hidden_size": sizes.vision_hidden_size,
                "intermediate_size": 2 * sizes.vision_hidden_size,
                "num_hidden_layers": sizes.vision_layers,
                "num_attention_heads": sizes.vision_hidden_size // 24,
                "patch_size": 14,
                "initializer_range": sizes.initializer_range,
            },
        )
        processor = transformers.VideoLlama3Processor(
            transformers.VideoLlama3ImageProcessor(size=cls.released_size),
            tokenizer,
            transformers.VideoLlama3VideoProcessor(size=cls.released_size),
        )
        return config, processor
