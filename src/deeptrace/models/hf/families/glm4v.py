"""GLM-4.1V, 4.5V, 4.6V: a time in words behind each pair of frames, boxes in 0 to 1000; they think, then answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final

import numpy as np
from typing_extensions import override

from deeptrace.models.base import Sampling
from deeptrace.models.hf.checkpoint import SpaceKind
from deeptrace.models.hf.families.base import ChatFrame, Family, KnownClasses, Part, TinySizes
from deeptrace.records import Frames

_MARKS = (
    "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|begin_of_image|>", "<|end_of_image|>",
    "<|begin_of_video|>", "<|end_of_video|>",
)  # fmt: skip
_ENDS = ("<|endoftext|>", "<|observation|>")
# How far before a moment that was asked for the frame on screen may have begun, as a share of the sampling's step.
_EARLY: Final = 0.2
_TENTHS: Final = Sampling(fps=6.0, max_frames=640)
_BOUNDS = ("image_start", "image_end", "video_start", "video_end")
_ROUTING = frozenset(
    {"first_k_dense_replace", "moe_intermediate_size", "n_group", "n_routed_experts", "n_shared_experts",
     "norm_topk_prob", "num_experts_per_tok", "output_router_logits", "routed_scaling_factor", "router_aux_loss_coef",
     "topk_group"}
)  # fmt: skip


class Glm4V(Family):
    """GLM-4.1V: each pair of frames between image marks, then the second of its first one as a whole number.

    ``size`` bounds the pixels of all frames together. The answer ends where the user's turn would begin. A released
    model writes ``<think>``, its reasoning, and then the answer: give it ``max_new_tokens`` for both. A checkpoint of
    this class may come with the processor of GLM-4.6V: times and sampling are then those of `Glm46V`.
    """

    name = "glm-4.1v"
    model_type = "glm4v"
    classes: ClassVar[KnownClasses] = KnownClasses(
        text=frozenset({"glm4v_text"}),
        vision=frozenset({"glm4v_vision", "glm4v"}),
        processors=frozenset({"Glm4vProcessor", "Glm46VProcessor"}),
        image_processors=frozenset({"Glm4vImageProcessor", "Glm4vImageProcessorFast", "Glm4vImageProcessorPil"}),
        video_processors=frozenset({"Glm4vVideoProcessor"}),
        part_keys=frozenset({"attention_bias", "image_size", "partial_rotary_factor", "rms_norm_eps"}),
        top_keys=frozenset(f"{name}_token_id" for name in _BOUNDS),
    )
    model_class = "Glm4vForConditionalGeneration"
    processor_name: ClassVar[str] = "Glm4v"
    """With which the names of its processor's classes begin."""
    chat: ClassVar[ChatFrame] = ChatFrame(
        begin="[gMASK]<sop>",
        system="<|system|>\n{text}",
        user="<|user|>\n{text}",
        assistant="<|assistant|>\n",
        end="<|user|>",
        pad="<|endoftext|>",
        image="<|image|>",
        video="<|video|>",
        marks=_MARKS,
        other_ends=_ENDS,
    )
    answers_in_tokens: ClassVar[bool] = True
    tokenizer_tokens: ClassVar[Mapping[str, str]] = {
        "image_token": "<|image|>",
        "video_token": "<|video|>",
        **{f"mark_{i}": mark for i, mark in enumerate((*_MARKS, "<|observation|>"))},
    }
    released_size: ClassVar[dict[str, int]] = {"shortest_edge": 112 * 112, "longest_edge": 28 * 28 * 2 * 30000}
    released_space: ClassVar[SpaceKind] = "per-mille"
    released_sampling = Sampling(fps=2.0, max_frames=600)
    released_system_prompt = ""
    parts: ClassVar[dict[Part, tuple[str, ...]]] = {
        "vision": ("model.visual.",),
        "projector": ("model.visual.merger.", "model.visual.downsample."),
        "language": ("model.language_model.", "lm_head."),
    }

    @override
    def _set_up(self) -> None:
        super()._set_up()
        self._writes_tenths = type(self.processor).__name__ == "Glm46VProcessor"
        if self._writes_tenths and self.card.sampling is None:
            self.sampling = _TENTHS

    @override
    def render_video(self) -> str:
        """The placeholder between video marks; the processor puts pairs of frames, as images, in its place."""
        return "<|begin_of_video|><|video|><|end_of_video|>"

    @property
    @override
    def pixel_token(self) -> str:
        """That of images: a video becomes images between video marks."""
        return self.chat.image

    @override
    def time_text(self, seconds: float) -> str:
        """The marks around a pair's tokens, and the time behind them: a whole second, of GLM-4.6V tenths in words."""
        time = f"{seconds:.1f} seconds" if self._writes_tenths else f"{int(seconds)}"
        return f"<|begin_of_image|><|end_of_image|>{time}"

    @override
    def _metadata(self, frames: Frames) -> Any:
        """Times for the processor; where it cuts them to whole seconds, the moments that the frames were asked for.

        The original shows the first frame *at or after* a moment, so that its whole second is right. Ours is the one on
        screen then, which began up to one source frame before: 0.967 s for second 1 at 30000/1001 fps.
        """
        if self._writes_tenths:
            return super()._metadata(frames)
        step, times = self.step_seconds(frames), frames.pts_seconds
        moments = np.ceil(times / step - 1e-6) * step
        told = np.where(moments - times <= _EARLY * step, moments, times)
        return super()._metadata(replace(frames, pts_seconds=told))

    @classmethod
    def tiny_text(cls, sizes: TinySizes) -> dict[str, Any]:
        """The settings of a tiny model's language part: half of each head turns, as released."""
        return {
            **sizes.text(),
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [2, 3, 3],
                "partial_rotary_factor": 0.5,
                "rope_theta": 1e4,
            },
        }

    @classmethod
    def tiny_vision(cls, sizes: TinySizes) -> dict[str, Any]:
        """The settings of a tiny model's vision part."""
        return {
            "hidden_size": sizes.vision_hidden_size,
            "depth": sizes.vision_layers,
            "num_heads": sizes.vision_hidden_size // 24,
            "out_hidden_size": sizes.hidden_size,
            "intermediate_size": 2 * sizes.vision_hidden_size,
            "image_size": 112,
            "initializer_range": sizes.initializer_range,
        }

    @classmethod
    @override
    def tiny(cls, sizes: TinySizes, tokenizer: Any) -> tuple[Any, Any]:
        """See `Family.tiny`."""
        import transformers

        of_model = getattr(transformers, cls.model_class.replace("ForConditionalGeneration", "Config"))
        config = of_model(text_config=cls.tiny_text(sizes), vision_config=cls.tiny_vision(sizes))
        for name in _BOUNDS:
            where, edge = {"start": "begin", "end": "end"}[name.split("_")[1]], name.split("_")[0]
            setattr(config, f"{name}_token_id", tokenizer.convert_tokens_to_ids(f"<|{where}_of_{edge}|>"))
        image, video, whole = (
            getattr(transformers, f"{cls.processor_name}{part}")
            for part in ("ImageProcessor", "VideoProcessor", "Processor")
        )
        return config, whole(image(), tokenizer, video())


class Glm45V(Glm4V):
    """GLM-4.5V: as 4.1V, with a language part of experts."""

    name = "glm-4.5v"
    model_type = "glm4v_moe"
    classes: ClassVar[KnownClasses] = replace(
        Glm4V.classes,
        text=frozenset({"glm4v_moe_text"}),
        vision=frozenset({"glm4v_moe_vision", "glm4v_vision", "glm4v_moe"}),
        part_keys=Glm4V.classes.part_keys | _ROUTING,
    )
    model_class = "Glm4vMoeForConditionalGeneration"

    @classmethod
    @override
    def tiny_text(cls, sizes: TinySizes) -> dict[str, Any]:
        """The first layer as it is, four experts in those behind it, of which two are asked."""
        return {
            **super().tiny_text(sizes),
            "moe_intermediate_size": sizes.hidden_size,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_shared_experts": 1,
        }


class Glm46V(Glm4V):
    """GLM-4.6V: as 4.1V, with tenths of a second in words.

    Its own tools take six frames a second of up to half a minute and two of longer videos, 640 at most; here it is six
    a second, and 640 at most, however long.
    """

    name = "glm-4.6v"
    model_type = "glm46v"
    classes: ClassVar[KnownClasses] = replace(
        Glm45V.classes,
        text=frozenset({"glm4v_text", "glm4v_moe_text"}),
        vision=frozenset({"glm4v_vision", "glm4v_moe_vision"}),
        processors=frozenset({"Glm46VProcessor"}),
        image_processors=frozenset({"Glm46VImageProcessor", "Glm46VImageProcessorFast", "Glm46VImageProcessorPil"}),
        video_processors=frozenset({"Glm46VVideoProcessor"}),
    )
    model_class = "Glm46VForConditionalGeneration"
    processor_name = "Glm46V"
    released_sampling = _TENTHS
