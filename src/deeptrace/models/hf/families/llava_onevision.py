"""LLaVA-OneVision (Qwen 2, 0.5B to 72B) in the form of transformers: no time, every frame a square."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from typing_extensions import override

from deeptrace.models.base import Sampling
from deeptrace.models.hf.checkpoint import SpaceKind
from deeptrace.models.hf.families.base import (
    CHATML,
    ChatFrame,
    KnownClasses,
    Part,
    TinySizes,
    VisionSize,
)
from deeptrace.models.hf.families.block import BlockFamily


class LlavaOnevision(BlockFamily):
    """The frames and a new line, then the question, framed as in the original training code.

    Every frame is made a square of one size (384 pixels, 27 x 27 patches), of which two by two become a token, and one
    token ends the video. The original takes 32 frames from all over the video, however long. Neither words nor
    positions say when a frame was shown. ``size`` holds the pixels of the square twice. Videos of one batch have the
    same number of frames.
    """

    name = "llava-onevision"
    model_type = "llava_onevision"
    classes: ClassVar[KnownClasses] = KnownClasses(
        text=frozenset({"qwen2"}),
        vision=frozenset({"siglip_vision_model"}),
        processors=frozenset({"LlavaOnevisionProcessor"}),
        image_processors=frozenset(
            {"LlavaOnevisionImageProcessor", "LlavaOnevisionImageProcessorFast", "LlavaOnevisionImageProcessorPil"}
        ),
        video_processors=frozenset({"LlavaOnevisionVideoProcessor"}),
        part_keys=frozenset({"image_size", "vision_use_head"}),
        top_keys=frozenset(
            {"image_grid_pinpoints", "image_token_index", "multimodal_projector_bias", "projector_hidden_act",
             "video_token_index", "vision_aspect_ratio", "vision_feature_layer", "vision_feature_select_strategy"}
        ),
    )  # fmt: skip
    model_class = "LlavaOnevisionForConditionalGeneration"
    chat: ClassVar[ChatFrame] = replace(CHATML, image="<image>", video="<video>")
    processor_counts: ClassVar[tuple[str, ...]] = ("num_image_tokens",)
    tokenizer_tokens: ClassVar[Mapping[str, str]] = {"image_token": "<image>", "video_token": "<video>"}
    released_size: ClassVar[dict[str, int]] = {"shortest_edge": 384 * 384, "longest_edge": 384 * 384}
    released_space: ClassVar[SpaceKind] = "source"
    released_sampling = Sampling(fps=1000.0, max_frames=32)
    released_system_prompt = "You are a helpful assistant."
    tells_time: ClassVar[bool] = False
    parts: ClassVar[dict[Part, tuple[str, ...]]] = {
        "vision": ("model.vision_tower.", "model.image_newline"),
        "projector": ("model.multi_modal_projector.",),
        "language": ("model.language_model.", "lm_head."),
    }

    @override
    def render_video(self) -> str:
        """One placeholder for all frames and a new line."""
        return "<video>\n"

    @override
    def processor_size(self) -> dict[str, int]:
        """A square."""
        side = self.square_side()
        return {"height": side, "width": side}

    @property
    def _patches_a_side(self) -> int:
        return math.isqrt(self.processor.num_image_tokens)

    @property
    @override
    def patch_values(self) -> int:
        """Numbers of a patch; what is left over at the edge of the square belongs to none."""
        return int(3 * (self.square_side() // self._patches_a_side) ** 2)

    @override
    def vision_size(self, num_frames: int, height: int, width: int) -> VisionSize:
        """Squares, whatever the frames; the last token ends the video."""
        side, patches = self.square_side(), self._patches_a_side
        tokens = num_frames * math.ceil(patches / self.merge) ** 2 + 1
        return VisionSize((num_frames, patches, patches), (side, side), tokens)

    @classmethod
    @override
    def tiny(cls, sizes: TinySizes, tokenizer: Any) -> tuple[Any, Any]:
        """See `Family.tiny`."""
        import transformers

        side = {"height": 56, "width": 56}
        config = transformers.LlavaOnevisionConfig(
            text_config={
                "model_type": "qwen2",
                **sizes.text(),
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
            },
            vision_config={
                "model_type": "siglip_vision_model",
                "hidden_size": sizes.vision_hidden_size,
                "intermediate_size": 2 * sizes.vision_hidden_size,
                "num_hidden_layers": sizes.vision_layers,
                "num_attention_heads": sizes.vision_hidden_size // 24,
                "image_size": 56,
                "patch_size": 14,
                "vision_use_head": False,
            },
        )
        processor = transformers.LlavaOnevisionProcessor(
            transformers.LlavaOnevisionImageProcessor(size=side),
            tokenizer,
            transformers.LlavaOnevisionVideoProcessor(size=side),
            num_image_tokens=16,
            vision_feature_select_strategy="full",
        )
        return config, processor
