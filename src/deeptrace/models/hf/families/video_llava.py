"""Video-LLaVA (Vicuna 7B) in the form of transformers: eight frames, no time, the middle square of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from typing_extensions import override

from deeptrace.models.base import Sampling
from deeptrace.models.hf.checkpoint import SpaceKind
from deeptrace.models.hf.families.base import (
    ChatFrame,
    KnownClasses,
    Part,
    TinySizes,
    VisionSize,
)
from deeptrace.models.hf.families.block import BlockFamily


class VideoLlava(BlockFamily):
    """``USER: <frames>``, a new line and the question, then ``ASSISTANT:``, behind the system prompt of Vicuna.

    The original takes 8 frames from all over the video and shows the middle square of each (224 pixels, 16 x 16
    patches and one token for the whole): what lies beside it is not seen. Neither words nor positions say when a frame
    was shown. ``size`` holds the pixels of the square twice. Videos of one batch have the same number of frames.
    """

    name = "video-llava"
    model_type = "video_llava"
    classes: ClassVar[KnownClasses] = KnownClasses(
        text=frozenset({"llama"}),
        vision=frozenset({"clip_vision_model"}),
        processors=frozenset({"VideoLlavaProcessor"}),
        image_processors=frozenset({"VideoLlavaImageProcessor"}),
        video_processors=frozenset({"VideoLlavaVideoProcessor"}),
        tokenizers=frozenset({"LlamaTokenizer", "LlamaTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"}),
        part_keys=frozenset({"image_size", "initializer_factor", "mlp_bias", "pretraining_tp", "projection_dim"}),
        top_keys=frozenset(
            {"image_seq_length", "image_token_index", "multimodal_projector_bias", "projector_hidden_act",
             "video_seq_length", "video_token_index", "vision_feature_layer", "vision_feature_select_strategy"}
        ),
    )  # fmt: skip
    model_class = "VideoLlavaForConditionalGeneration"
    chat: ClassVar[ChatFrame] = ChatFrame(
        system="{text} ",
        user="USER: {text} ",
        assistant="ASSISTANT:",
        end="</s>",
        pad="<pad>",
        image="<image>",
        video="<video>",
    )
    processor_counts: ClassVar[tuple[str, ...]] = ("patch_size",)
    tokenizer_tokens: ClassVar[Mapping[str, str]] = {
        "image_token": "<image>",
        "video_token": "<video>",
        "stop_token": "</s>",
        "padding_token": "<pad>",
    }
    released_size: ClassVar[dict[str, int]] = {"shortest_edge": 224 * 224, "longest_edge": 224 * 224}
    released_space: ClassVar[SpaceKind] = "source"
    released_sampling = Sampling(fps=1000.0, max_frames=8)
    released_system_prompt = (
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the user's questions."
    )
    tells_time: ClassVar[bool] = False
    parts: ClassVar[dict[Part, tuple[str, ...]]] = {
        "vision": ("model.video_tower.", "model.image_tower."),
        "projector": ("model.multi_modal_projector.",),
        "language": ("model.language_model.", "lm_head."),
    }

    @override
    def render_video(self) -> str:
        """One placeholder for all frames and a new line."""
        return "<video>\n"

    @override
    def processor_size(self) -> dict[str, int]:
        """The shorter side; `_set_up` has the square cut out of the middle."""
        return {"shortest_edge": self.square_side()}

    @override
    def _set_up(self) -> None:
        super()._set_up()
        from transformers.image_utils import SizeDict

        side = self.square_side()
        self.processor.video_processor.crop_size = SizeDict(height=side, width=side)

    @property
    @override
    def patch_values(self) -> int:
        """Numbers of a patch."""
        return int(3 * self.processor.patch_size**2)

    @override
    def vision_size(self, num_frames: int, height: int, width: int) -> VisionSize:
        """Squares, whatever the frames, and one token more for each."""
        side = self.square_side()
        patches = side // self.processor.patch_size
        tokens = num_frames * (patches**2 + self.processor.num_additional_image_tokens)
        return VisionSize((num_frames, patches, patches), (side, side), tokens)

    @classmethod
    @override
    def tiny(cls, sizes: TinySizes, tokenizer: Any) -> tuple[Any, Any]:
        """See `Family.tiny`."""
        import transformers

        config = transformers.VideoLlavaConfig(
            text_config={
                "model_type": "llama",
                **sizes.text(),
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
            },
            vision_config={
                "model_type": "clip_vision_model",
                "hidden_size": sizes.vision_hidden_size,
                "intermediate_size": 2 * sizes.vision_hidden_size,
                "num_hidden_layers": sizes.vision_layers,
                "num_attention_heads": sizes.vision_hidden_size // 24,
                "image_size": 56,
                "patch_size": 14,
                "projection_dim": sizes.vision_hidden_size,
                "initializer_range": sizes.initializer_range,
            },
            image_seq_length=16,
            video_seq_length=8 * 17,
        )
        square: dict[str, Any] = {"size": {"shortest_edge": 56}, "crop_size": {"height": 56, "width": 56}}
        processor = transformers.VideoLlavaProcessor(
            transformers.VideoLlavaImageProcessor(**square),
            transformers.VideoLlavaVideoProcessor(**square),
            tokenizer,
            patch_size=14,
        )
        return config, processor
