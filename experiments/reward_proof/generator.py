"""A tiny generator: noise in, the course of two discs and how plain each is drawn out; the world's renderer draws it.

A network of two layers learns courses by a conditional flow (rectified flow: straight paths from noise to data). What
it gets wrong are traces of its own: discs that flicker, jump, fade. Torch on a CPU, seconds to train.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import nn
from world import FRAMES, SIZE, Clip, Course, render

WIDTH: Final = FRAMES * 2 * 3
STEPS: Final = 12


def to_vector(path: Course) -> np.ndarray:
    """Positions in [-1, 1] and opacity as -1 or 1, ``(96,)``."""
    positions = path.positions / SIZE * 2 - 1
    return np.concatenate([positions.reshape(-1), (path.opacity * 2 - 1).reshape(-1)]).astype(np.float32)


def from_vector(vector: np.ndarray, ground: int) -> Course:
    """The course that a vector means; opacity between is kept."""
    positions = (vector[: FRAMES * 4].reshape(FRAMES, 2, 2).astype(np.float64) + 1) / 2 * SIZE
    opacity = np.clip((vector[FRAMES * 4 :].reshape(FRAMES, 2).astype(np.float64) + 1) / 2, 0, 1)
    return Course(positions, np.where(opacity > 0.5, 1.0, 0.0), ground)


class Flow(nn.Module):
    """The velocity from noise to a course, at a moment in [0, 1]."""

    def __init__(self, hidden: int = 384) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(WIDTH + 16, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(),
            nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, WIDTH),
        )  # fmt: skip

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """``(N, 96)`` and ``(N, 1)`` in, ``(N, 96)`` out."""
        waves = time * torch.arange(1, 9, dtype=x.dtype) * torch.pi
        velocity: torch.Tensor = self.net(torch.cat([x, waves.sin(), waves.cos()], -1))
        return velocity


def train(flow: Flow, vectors: np.ndarray, *, steps: int, seed: int, rate: float = 1e-3, batch: int = 256) -> Flow:
    """Train on vectors ``(N, 96)``, in place."""
    generator = torch.Generator().manual_seed(seed)
    data = torch.from_numpy(vectors)
    optimiser = torch.optim.AdamW(flow.parameters(), lr=rate)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, 2 * (1 - step / steps) + 0.02)
        index = torch.randint(0, len(data), (batch,), generator=generator)
        target = data[index]
        noise = torch.randn(target.shape, generator=generator)
        time = torch.rand((batch, 1), generator=generator)
        loss = (flow(noise + (target - noise) * time, time) - (target - noise)).pow(2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return flow


@torch.no_grad()
def sample(flow: Flow, count: int, seed: int) -> np.ndarray:
    """Vectors ``(count, 96)``."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((count, WIDTH), generator=generator)
    for step in range(STEPS):
        x = x + flow(x, torch.full((count, 1), step / STEPS)) / STEPS
    return x.numpy()


def clips_of(vectors: np.ndarray, seed: int) -> list[Clip]:
    """The clips that vectors mean, each over a ground of its own."""
    return [render(from_vector(vector, seed * 100_003 + index)) for index, vector in enumerate(vectors)]
