"""Qwen 2 VL (2B to 72B): no time at all, boxes in 0 to 1000."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from deeptrace.models.base import Sampling
from deeptrace.models.hf.checkpoint import SpaceKind
from deeptrace.models.hf.families.base import Family, KnownClasses, Part, TinySizes
from deeptrace.models.hf.families.qwen25vl import rope_index

if TYPE_CHECKING:
    import torch


class Qwen2VL(Family):
    """The frames between vision marks, then the question. Neither words nor positions say when a frame was shown.

    A pair of frames is one step further than the pair before it, whatever lies between them: only a question that
    lists the times (see `deeptrace.answer.FORMATS`) tells them. ``size`` bounds the pixels of one frame (128 to 768
    tokens of 28 x 28), as the models' own tools do.
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
    released_size: ClassVar[dict[str, int]] = {"shortest_edge": 128 * 28 * 28, "longest_edge": 768 * 28 * 28}
    released_space: ClassVar[SpaceKind] = "per-mille"
    released_sampling = Sampling(fps=2.0, max_frames=768)
    released_system_prompt = "You are a helpful assistant."
    tells_time: ClassVar[bool] = False
    parts: ClassVar[dict[Part, tuple[str, ...]]] = {
        "vision": ("model.visual.",),
        "projector": ("model.visual.merger.",),
        "language": ("model.language_model.", "lm_head."),
    }

    @override
    def render_video(self) -> str:
        """The placeholder between vision marks."""
        return "<|vision_start|><|video_pad|><|vision_end|>"

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

    @override
    def prepare(self, model: Any) -> None:
        """Let text go on behind the largest position of the video, as in the code that the weights were trained with.

        The library goes on behind its largest position in height or width: see `rope_index`.
        """
        inner = model.model
        inner.get_rope_index = MethodType(_rope_index_of, inner)


def _rope_index_of(  # noqa: PLR0917 - the library's own signature
    inner: Any,
    input_ids: torch.Tensor,
    mm_token_type_ids: torch.Tensor,
    image_grid_thw: torch.Tensor | None = None,
    video_grid_thw: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    if image_grid_thw is not None:
        raise NotImplementedError("only video goes into this model here")
    merge = inner.config.vision_config.spatial_merge_size
    return rope_index(
        input_ids, mm_token_type_ids, video_grid_thw, None, attention_mask, merge=merge, tokens_per_second=1.0
    )
