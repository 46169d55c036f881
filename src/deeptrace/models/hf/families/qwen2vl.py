"""Qwen 2 VL (2B to 72B): no time at all, boxes in 0 to 1000."""

from __future__ import annotations

from typing import Any, ClassVar

from typing_extensions import override

from deeptrace.models.hf.checkpoint import SpaceKind
from deeptrace.models.hf.families.base import KnownClasses, TinySizes
from deeptrace.models.hf.families.qwen25vl import Qwen25VL


class Qwen2VL(Qwen25VL):
    """As `Qwen25VL`, but neither words nor positions say when a frame was shown.

    A pair of frames is one step further than the pair before it, whatever lies between them: only a question that
    lists the times (see `deeptrace.answer.FORMATS`) tells them.
    """

    name = "qwen2-vl"
    model_type = "qwen2_vl"
    classes: ClassVar[KnownClasses] = KnownClasses(
        text=frozenset({"qwen2_vl_text", "qwen2_vl"}),
        vision=frozenset({"qwen2_vl_vision", "qwen2_vl"}),
        processors=frozenset({"Qwen2VLProcessor"}),
        image_processors=frozenset({"Qwen2VLImageProcessor", "Qwen2VLImageProcessorFast", "Qwen2VLImageProcessorPil"}),
        video_processors=frozenset({"Qwen2VLVideoProcessor"}),
        part_keys=frozenset({"embed_dim", "mlp_ratio"}),
    )
    model_class = "Qwen2VLForConditionalGeneration"
    released_space: ClassVar[SpaceKind] = "per-mille"
    tells_time: ClassVar[bool] = False

    @classmethod
    @override
    def tiny(cls, sizes: TinySizes, tokenizer: Any) -> tuple[Any, Any]:
        """See `Family.tiny`."""
        import transformers

        config = transformers.Qwen2VLConfig(
            text_config={
                **sizes.text(),
                "rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 1e6},
            },
            vision_config={
                "embed_dim": sizes.vision_hidden_size,
                "mlp_ratio": 2,
                "depth": sizes.vision_layers,
                "num_heads": sizes.vision_hidden_size // 24,
                "hidden_size": sizes.hidden_size,  # of what comes out
                "initializer_range": sizes.initializer_range,
            },
        )
        processor = transformers.Qwen2VLProcessor(
            transformers.Qwen2VLImageProcessor(),
            tokenizer,
            transformers.Qwen2VLVideoProcessor(
                size={"shortest_edge": 16 * 28 * 28, "longest_edge": 768 * 28 * 28}, cap_pixels_per_frame=True
            ),
        )
        return config, processor
