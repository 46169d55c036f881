"""The memory that a conversion takes. Run: python benchmarks/convert_memory.py

Makes a ``videollama3_qwen2`` checkpoint of ``--shards`` files of about ``--shard-mb`` MB each and converts it in a
process of its own. What counts is the highest resident memory while converting over what the process held before it,
torch and transformers loaded; exits with 1 where that is more than 1.3 shards. Linux only (it resets the kernel's own
peak).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from measuring import peak_mb

ROOT = Path(__file__).resolve().parent.parent
BAR = 1.3


def make(folder: Path, shards: int, shard_mb: int) -> None:
    """The tiny synthetic source of the tests, with an embedding and an output layer that fill the shards."""
    sys.path.insert(0, str(ROOT))
    import numpy as np
    from safetensors.numpy import load_file, save_file

    from tests.models.source_checkpoint import make_source

    source = make_source(folder / "src", shards=1)
    weights = load_file(source / "model.safetensors")
    config = json.loads((source / "config.json").read_text())
    hidden, inner = config["hidden_size"], shard_mb * 2**20 // (3 * 4 * config["hidden_size"])
    # Every layer's feed-forward part is one shard: three matrices of inner x hidden float32.
    template = {name: w for name, w in weights.items() if name.startswith("model.layers.0.")}
    rest = {name: w for name, w in weights.items() if not name.startswith("model.layers.")}
    rng = np.random.default_rng(0)
    index = {}
    for number in range(shards):
        part = {name.replace("layers.0.", f"layers.{number}."): w for name, w in template.items()}
        for name, shape in (("gate", (inner, hidden)), ("up", (inner, hidden)), ("down", (hidden, inner))):
            part[f"model.layers.{number}.mlp.{name}_proj.weight"] = rng.random(shape, np.float32)
        if number == 0:
            part |= rest
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        save_file(part, source / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    (source / "model.safetensors").unlink()
    (source / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    config |= {"num_hidden_layers": shards, "intermediate_size": inner}
    (source / "config.json").write_text(json.dumps(config))


def convert(folder: Path) -> dict[str, float]:
    from deeptrace.models.hf.convert import convert as run
    from deeptrace.models.hf.convert import plan

    plan(folder / "src")  # everything that is imported is there
    me = psutil.Process()
    before = me.memory_info().rss / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    start = time.perf_counter()
    done = run(folder / "src", folder / "dst")
    return {
        "before_mb": before,
        "peak_mb": peak_mb(me),
        "converted_mb": done.nbytes / 2**20,
        "seconds": time.perf_counter() - start,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--shard-mb", type=int, default=256)
    parser.add_argument("--part", choices=["make", "convert"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.part == "make":
        make(options.folder, options.shards, options.shard_mb)
        return
    if options.part == "convert":
        print(json.dumps(convert(options.folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        common = [sys.executable, __file__, "--folder", folder, "--shards", str(options.shards)]
        common += ["--shard-mb", str(options.shard_mb)]
        subprocess.run([*common, "--part", "make"], check=True)
        out = subprocess.run([*common, "--part", "convert"], check=True, capture_output=True, text=True).stdout
        shard = max(file.stat().st_size for file in Path(folder, "src").glob("*.safetensors")) / 2**20
    row = json.loads(out)
    row = {"shard_mb": shard, **row, "shards_of_memory": (row["peak_mb"] - row["before_mb"]) / shard}
    print(json.dumps(row) if options.json else "  ".join(f"{key} {value:,.2f}" for key, value in row.items()))
    sys.exit(0 if row["shards_of_memory"] <= BAR else 1)


if __name__ == "__main__":
    main()
