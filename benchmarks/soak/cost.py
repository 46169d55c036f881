"""The cost fuzzer: for each parser, inputs that grow (x1, x2, x4, x8) up to its limit; processor time a byte.

    python benchmarks/soak/cost.py --largest 1000000

A byte must cost as much in a large input as in a small one. Prints the table and exits with 1 if there is a parser and
a shape for which it does not.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.cost import GROWTH, costs  # noqa: E402 - found beside this folder, not installed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=1_000_000, help="bytes of the largest input (or its limit)")
    parser.add_argument("--only", nargs="+", default=[""], help="parsers with one of these in their name")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    sizes = "  ".join(f"x{factor:<7}" for factor in GROWTH)
    print(f"{'parser':<24}{'shape':<28}{'bytes':>9}  {sizes}s   growth of s/byte")
    bad = 0
    for cost in costs(args.largest, seed=args.seed, wanted=lambda name: any(part in name for part in args.only)):
        seconds = "  ".join(f"{seconds:<8.3f}" for _, seconds in cost.points)
        flag = f"  <-- {cost.problem or 'not flat'}" if cost.is_bad else ""
        print(
            f"{cost.parser:<24}{cost.shape:<28}{cost.points[-1][0]:>9}  {seconds}  {cost.growth:>6.1f}{flag}",
            flush=True,
        )
        bad += cost.is_bad
    print(f"{bad} not flat" if bad else "all flat")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
