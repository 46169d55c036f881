"""The small reward model that ships with the package: `Frames` in, `Verdict` out, on any CPU, with no download.

Two questions are kept apart. ``p_trace``: is there a fake trace, where and when (a temporal network trained on injected
traces). ``p_generated``: does the clip as a whole look generated (a linear head over pretrained features and their
change over time). ``p_fake`` joins them by one formula, see `join`. The model card in docs/embedded.md says what it was
trained on and how far it can be trusted.
"""

from deeptrace.models.embedded.calibration import join, pool_evidence
from deeptrace.models.embedded.model import EmbeddedModel

__all__ = ["EmbeddedModel", "join", "pool_evidence"]
