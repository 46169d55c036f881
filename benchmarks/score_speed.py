"""How much faster a score is than a whole answer, on prepared inputs. Run: python benchmarks/score_speed.py

`score` is one pass over the prompt; `inspect` is that pass and 64 tokens, one after the other. Models of the real
classes with random weights, one thread; reading and encoding the clip are left out of both. Exits with 1 where the
ratio is under 5. On long prompts of large models the pass itself weighs more and the ratio falls: ``--frames``
shows it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import median

BAR = 5.0
NEW_TOKENS = 64
SIZES = {"tiny": {"hidden_size": 128, "num_layers": 3}, "small": {"hidden_size": 256, "num_layers": 8}}


def measure(family_name: str, size: str, frames: int, rounds: int, batch_size: int) -> dict[str, object]:
    import torch

    from deeptrace.answer import QUESTIONS
    from deeptrace.models.hf.families import family_of
    from deeptrace.records import Frames
    from deeptrace.testing import tiny_model

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = tiny_model(family_name, Path(folder) / "m", **SIZES[size])
        family = family_of(path)
        model = family.load_model(path, device="cpu")
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 255, (batch_size, frames, 112, 112, 3), dtype=np.uint8)
    encoded = [family.encode(Frames.from_array(clip, 2.0), QUESTIONS["trained"]) for clip in clips]
    batch = family.collate(encoded, pad_left=True)
    scores, answers = [], []
    for _ in range(rounds + 1):  # in turns; the first round warms up
        start = time.process_time()
        family.next_logprobs(model, batch)
        scores.append(time.process_time() - start)
        start = time.process_time()
        made = family.answer(model, batch, max_new_tokens=NEW_TOKENS)
        answers.append(time.process_time() - start)
    if min(one.tokens for one in made) < NEW_TOKENS:
        sys.exit("an answer of the random model ended early; give another seed")
    score, answer = median(scores[1:]), median(answers[1:])
    return {
        "family": family_name,
        "size": size,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "prompt_tokens": int(batch["input_ids"].shape[1]),
        "batch": batch_size,
        "score_cpu_s": score,
        "inspect_cpu_s": answer,
        "ratio": round(answer / score, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--size", choices=SIZES, action="append")
    parser.add_argument("--family", choices=["videollama3", "qwen2.5-vl", "qwen3-vl"], action="append")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [
        measure(family, size, options.frames, options.rounds, options.batch_size)
        for family in options.family or ["videollama3", "qwen2.5-vl", "qwen3-vl"]
        for size in options.size or SIZES
    ]
    for row in rows:
        print(json.dumps(row) if options.json else "  ".join(f"{key} {value}" for key, value in row.items()))
    sys.exit(0 if all(float(str(row["ratio"])) >= BAR for row in rows) else 1)


if __name__ == "__main__":
    main()
