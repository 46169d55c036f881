"""What families have in common whose class takes the videos of a batch as one block: as many frames in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from deeptrace.errors import ModelError
from deeptrace.models.hf.families.base import Encoded, Family, VisionSize

if TYPE_CHECKING:
    import torch


class BlockFamily(Family):
    """A `Family` of which all videos of a batch have the same number of frames."""

    @override
    def shown_size(self, inputs: Mapping[str, Any], num_frames: int, height: int, width: int) -> VisionSize:
        """As `vision_size`, of as many frames as there are in the inputs."""
        return self.vision_size(int(inputs["pixel_values_videos"].shape[1]), height, width)

    @override
    def collate(self, batch: Sequence[Encoded], *, pad_left: bool = False) -> dict[str, torch.Tensor]:
        """As `Family.collate`, of videos with the same number of frames.

        Raises:
            ModelError: their numbers of frames differ.
        """
        counts = sorted({one.size.grid_thw[0] for one in batch})
        if len(counts) > 1:
            raise ModelError(
                f"videos of {counts[0]} and of {counts[-1]} frames do not fit one batch of the {self.name} family: "
                "take a batch size of 1."
            )
        return super().collate(batch, pad_left=pad_left)
