"""What it saves to encode a prompt once for the answers of its group: the RL stage's work on one prompt, both ways.

    python benchmarks/rollout_prefix.py [--family videollama3] [--frames 16] [--side 224] [--rounds 5]

Answers are sampled, and their likelihoods computed and differentiated, on one thread with a tiny model of the real
class: once with the prompt repeated for each answer, as it was done before, and once with it encoded once. In turns;
medians of processor time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deeptrace.answer import QUESTIONS
from deeptrace.models.hf.families import family_of
from deeptrace.records import Frames
from deeptrace.testing import tiny_model
from deeptrace.train.vlm.positions import last_positions
from deeptrace.train.vlm.rollout_prefix import encode_prefix, likelihoods_behind, sample_from
from deeptrace.train.vlm.rollouts import log_likelihoods, unsayable, until_end


def step(model: Any, family: Any, encoded: Any, group: int, tokens: int, *, once: bool) -> float:
    """Processor seconds of sampling, likelihoods and gradients of one prompt's answers."""
    never = unsayable(family)
    batch = family.collate([encoded] * (1 if once else group), pad_left=True)
    model.zero_grad()
    torch.manual_seed(0)
    start = time.process_time()
    with torch.no_grad():
        if once:
            prefix = encode_prefix(model, model, batch, group)
            said = sample_from(model, family, prefix, temperature=1.0, max_new_tokens=tokens, never=never)
        else:
            said = model.generate(
                **batch, max_new_tokens=tokens, do_sample=True, top_p=1.0, top_k=0, suppress_tokens=never,
                eos_token_id=family.end_id, pad_token_id=family.pad_id,
            )[:, batch["input_ids"].shape[1] :]  # fmt: skip
    mask = until_end(said, family.end_id)
    if once:
        prefix = encode_prefix(model, model, batch, group)
        logp = likelihoods_behind(model, model, prefix, said, mask, 1.0, never=never)
    else:
        with last_positions(model, said.shape[1] + 1):
            logp = log_likelihoods(model, batch, said, mask, 1.0, never=never)
    logp.sum().backward()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="videollama3")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        family = family_of(tiny_model(given.family, Path(folder) / "model"))
        model = family.load_model(Path(folder) / "model", device="cpu")
    images = np.random.default_rng(0).integers(0, 255, (given.frames, given.side, given.side, 3), np.uint8)
    encoded = family.encode(Frames.from_array(images, 2.0), QUESTIONS["trained"])
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(given.rounds):
        for once, spent in times.items():
            spent.append(step(model, family, encoded, given.group, given.tokens, once=once))
    each, shared = (statistics.median(times[once]) for once in (False, True))
    length = encoded.inputs["input_ids"].shape[1]
    print(f"{given.family}, a prompt of {length} tokens, {given.group} answers of at most {given.tokens}:")
    print(f"encoded for each {each:.2f} s, once {shared:.2f} s of processor time: {each / shared:.1f} times")


if __name__ == "__main__":
    main()
