"""Qwen 2.5 VL (3B to 72B): time only as positions, boxes in pixels of the resized frames."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from deeptrace.models.base import Sampling
from deeptrace.models.hf.checkpoint import SpaceKind
from deeptrace.models.hf.families.base import Family, KnownClasses, Part, TinySizes

if TYPE_CHECKING:
    import torch


class Qwen25VL(Family):
    """The frames between vision marks, then the question. No word says when a frame was shown; its position does.

    ``size`` bounds the pixels of one frame (128 to 768 tokens of 28 x 28), as the models' own tools do.
    """

    name = "qwen2.5-vl"
    model_type = "qwen2_5_vl"
    classes: ClassVar[KnownClasses] = KnownClasses(
        text=frozenset({"qwen2_5_vl_text", "qwen2_5_vl"}),
        vision=frozenset({"qwen2_5_vl_vision", "qwen2_5_vl"}),
        processors=frozenset({"Qwen2_5_VLProcessor"}),
        image_processors=frozenset(
            {
                "Qwen2VLImageProcessor",
                "Qwen2VLImageProcessorFast",
                "Qwen2VLImageProcessorPil",
                "Qwen2_5_VLImageProcessor",
                "Qwen2_5_VLImageProcessorFast",
            }
        ),
        video_processors=frozenset({"Qwen2VLVideoProcessor"}),
    )
    model_class = "Qwen2_5_VLForConditionalGeneration"
    released_size: ClassVar[dict[str, int]] = {"shortest_edge": 128 * 28 * 28, "longest_edge": 768 * 28 * 28}
    released_space: ClassVar[SpaceKind] = "resized"
    released_sampling = Sampling(fps=2.0, max_frames=768)
    released_system_prompt = "You are a helpful assistant."
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

        config = transformers.Qwen2_5_VLConfig(
            text_config={
                **sizes.text(),
                # Half a head of 32: as many for time as released (16 of 64), the rest for height and width.
                "rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 1e6},
            },
            vision_config={
                "hidden_size": sizes.vision_hidden_size,
                "intermediate_size": 2 * sizes.vision_hidden_size,
                "depth": sizes.vision_layers,
                "num_heads": sizes.vision_hidden_size // 24,
                "out_hidden_size": sizes.hidden_size,
                "fullatt_block_indexes": [sizes.vision_layers - 1],
                "tokens_per_second": 2,  # as released; the class's default is 4
                "initializer_range": sizes.initializer_range,
            },
        )
        processor = transformers.Qwen2_5_VLProcessor(
            transformers.Qwen2VLImageProcessor(),
            tokenizer,
            # Released: at least 128 tokens a frame. Here 16, so that a test's small frames stay small.
            transformers.Qwen2VLVideoProcessor(
                size={"shortest_edge": 16 * 28 * 28, "longest_edge": 768 * 28 * 28}, cap_pixels_per_frame=True
            ),
        )
        return config, processor

    @override
    def prepare(self, model: Any) -> None:
        """Give the model the position ids that its weights were trained with, see `rope_index`."""
        inner = model.model
        inner.get_rope_index = MethodType(_rope_index_of, inner)


def _rope_index_of(  # noqa: PLR0917 - the library's own signature
    inner: Any,
    input_ids: torch.Tensor,
    mm_token_type_ids: torch.Tensor,
    image_grid_thw: torch.Tensor | None = None,
    video_grid_thw: torch.Tensor | None = None,
    second_per_grid_ts: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    if image_grid_thw is not None:
        raise NotImplementedError("only video goes into this model here")
    vision = inner.config.vision_config
    return rope_index(
        input_ids,
        mm_token_type_ids,
        video_grid_thw,
        second_per_grid_ts,
        attention_mask,
        merge=vision.spatial_merge_size,
        tokens_per_second=getattr(vision, "tokens_per_second", 1.0),  # Qwen 2 VL knows of no seconds
    )


def rope_index(
    input_ids: torch.Tensor,
    mm_token_type_ids: torch.Tensor,
    video_grid_thw: torch.Tensor | None,
    second_per_grid_ts: torch.Tensor | None,
    attention_mask: torch.Tensor | None,
    *,
    merge: int,
    tokens_per_second: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions ``(3, B, L)`` in time, height and width, and ``(B, 1)`` how far they run ahead of the token count.

    As in the reference that the released weights were trained with: text goes on one behind the *largest* position of
    the video before it. transformers goes on behind its largest position in height or width, which for a long or small
    video puts the question before the frames' own times. At most one video a row.
    """
    import torch

    count, length = input_ids.shape
    positions = torch.zeros(3, count, length, dtype=torch.long, device=input_ids.device)
    ahead = []
    videos = iter(range(0 if video_grid_thw is None else len(video_grid_thw)))
    for row in range(count):
        unpadded = slice(None) if attention_mask is None else attention_mask[row].bool()
        kinds = mm_token_type_ids[row][unpadded]
        is_video = torch.nonzero(kinds == 2).flatten()
        here = torch.arange(len(kinds), device=input_ids.device).expand(3, -1).clone()
        if len(is_video) and video_grid_thw is not None:
            index = next(videos)
            start = int(is_video[0])
            step = 1.0 if second_per_grid_ts is None else float(second_per_grid_ts[index])
            grid = [int(side) for side in video_grid_thw[index]]
            video = _video_positions(grid, step * tokens_per_second, merge).to(input_ids.device) + start
            end = start + video.shape[1]
            here[:, start:end] = video
            here[:, end:] += int(video.max()) + 1 - end
        positions[:, row, unpadded] = here
        ahead.append(int(here.max()) + 1 - len(kinds))
    return positions, torch.tensor(ahead, device=input_ids.device).unsqueeze(1)


def _video_positions(grid_thw: list[int], time_step: float, merge: int) -> torch.Tensor:
    """``(3, T * H * W)`` from 0 on: time in steps rounded down, row, column."""
    import torch

    count, height, width = grid_thw[0], grid_thw[1] // merge, grid_thw[2] // merge
    times = (torch.arange(count) * time_step).long()
    return torch.stack(
        [
            times.view(-1, 1, 1).expand(count, height, width),
            torch.arange(height).view(1, -1, 1).expand(count, height, width),
            torch.arange(width).view(1, 1, -1).expand(count, height, width),
        ]
    ).flatten(1)
