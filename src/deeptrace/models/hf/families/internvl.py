"""InternVL 3 and 3.5 in the form of transformers (``-HF``): no time, frames by number, boxes in 0 to 1000."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from typing_extensions import override

from deeptrace.models.base import Sampling
from deeptrace.models.hf.checkpoint import SpaceKind
from deeptrace.models.hf.families.base import CHATML, ChatFrame, Family, KnownClasses, Part, TinySizes, VisionSize


class InternVL(Family):
    """``Frame1: <frame>`` and a new line for each frame, then the question; no system prompt.

    Every frame is made a square of one size (448 pixels), and a constant number of tokens (256). The original takes 32
    frames from all over the video, however long; here too, each from the beginning of its part rather than its middle.
    ``size`` holds the pixels of the square twice.
    """

    name = "internvl"
    model_type = "internvl"
    classes: ClassVar[KnownClasses] = KnownClasses(
        text=frozenset({"qwen2", "qwen3"}),
        vision=frozenset({"internvl_vision"}),
        processors=frozenset({"InternVLProcessor"}),
        image_processors=frozenset({"GotOcr2ImageProcessor", "GotOcr2ImageProcessorFast", "GotOcr2ImageProcessorPil"}),
        video_processors=frozenset({"InternVLVideoProcessor"}),
        part_keys=frozenset(
            {"hidden_dropout_prob", "image_size", "layer_scale_init_value", "norm_type", "projection_dropout",
             "use_absolute_position_embeddings", "use_mask_token", "use_mean_pooling", "use_qk_norm"}
        ),
        top_keys=frozenset(
            {"downsample_ratio", "image_seq_length", "projector_hidden_act", "vision_feature_layer",
             "vision_feature_select_strategy"}
        ),
    )  # fmt: skip
    model_class = "InternVLForConditionalGeneration"
    chat: ClassVar[ChatFrame] = replace(CHATML, image="<IMG_CONTEXT>", video="<video>", marks=("<|im_start|>", "<img>"))
    processor_counts: ClassVar[tuple[str, ...]] = ("image_seq_length",)
    tokenizer_tokens: ClassVar[Mapping[str, str]] = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    released_size: ClassVar[dict[str, int]] = {"shortest_edge": 448 * 448, "longest_edge": 448 * 448}
    released_space: ClassVar[SpaceKind] = "per-mille"
    released_sampling = Sampling(fps=1000.0, max_frames=32)
    released_system_prompt = ""
    tells_time: ClassVar[bool] = False
    parts: ClassVar[dict[Part, tuple[str, ...]]] = {
        "vision": ("model.vision_tower.",),
        "projector": ("model.multi_modal_projector.",),
        "language": ("model.language_model.", "lm_head."),
    }

    @override
    def render_video(self) -> str:
        """One placeholder, which the processor makes one numbered line a frame, and a new line."""
        return "<video>\n"

    @property
    @override
    def pixel_token(self) -> str:
        """That of pictures: a video becomes numbered pictures."""
        return self.chat.image

    @override
    def time_text(self, seconds: float) -> str:
        """The number of a frame and the marks around its tokens, for want of a time."""
        return "Frame1: <img></img>\n"

    @override
    def processor_size(self) -> dict[str, int]:
        """A square."""
        side = self.square_side()
        return {"height": side, "width": side}

    @property
    @override
    def patch_values(self) -> int:
        """Numbers of a patch, of which two by two become one token."""
        tokens_a_side = math.isqrt(self.processor.image_seq_length)
        return int(3 * (self.square_side() // (self.merge * tokens_a_side)) ** 2)

    @override
    def vision_size(self, num_frames: int, height: int, width: int) -> VisionSize:
        """Squares, whatever the frames."""
        side, patches = self.square_side(), self.merge * math.isqrt(self.processor.image_seq_length)
        return VisionSize((num_frames, patches, patches), (side, side), num_frames * self.processor.image_seq_length)

    @override
    def shown_size(self, inputs: Mapping[str, Any], num_frames: int, height: int, width: int) -> VisionSize:
        """As `vision_size`: nothing in the inputs says more."""
        return self.vision_size(num_frames, height, width)

    @classmethod
    @override
    def tiny(cls, sizes: TinySizes, tokenizer: Any) -> tuple[Any, Any]:
        """See `Family.tiny`."""
        import transformers

        side = {"height": 56, "width": 56}
        config = transformers.InternVLConfig(
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
                "image_size": [56, 56],
                "patch_size": [14, 14],
                "initializer_range": sizes.initializer_range,
            },
            image_seq_length=4,
            tie_word_embeddings=False,
        )
        processor = transformers.InternVLProcessor(
            transformers.GotOcr2ImageProcessor(size=side),
            tokenizer,
            transformers.InternVLVideoProcessor(size=side),
            image_seq_length=4,
        )
        return config, processor
