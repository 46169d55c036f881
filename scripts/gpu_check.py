"""What can only be checked on a GPU, in one table. Run: python scripts/gpu_check.py [--checkpoint FOLDER --video CLIP]

**Unverified**: the authors have not run this on a GPU. It is here so that whoever has one can, and says in one table
what holds. Without options it builds tiny models of the real classes and downloads nothing. ``--checkpoint`` adds real
weights, ``--expected`` a JSON file of ``{"video.mp4": "what the original code answered"}`` for a converted checkpoint.

``--rehearse`` runs on the CPU what can run there: it shows that the script works, and says nothing about a GPU.

Exit code 0: everything that could run holds. 1: something does not. What could not run is said with its reason.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FAMILIES = ("videollama3", "qwen2.5-vl", "qwen3-vl")


class NotHere(Exception):
    """A check that this machine cannot run, and why."""


@dataclass
class Row:
    """One line of the table."""

    name: str
    state: str  # "holds", "FAILS", "not run"
    detail: str
    seconds: float
    peak: float | None
    """GiB that the GPUs held at most, all of them together, over what they held before; None without a GPU."""


class PeakMemory:
    """Looks at what the GPUs hold, every 50 ms, whichever process holds it."""

    def __init__(self) -> None:
        import torch

        self._count = torch.cuda.device_count()
        self._start = self._most = self._held()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        if self._count:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._count:
            self._thread.join()

    @property
    def gib(self) -> float | None:
        """How much more they held at most than when it began; None without a GPU."""
        return (self._most - self._start) / 2**30 if self._count else None

    def _held(self) -> int:
        import torch

        infos = [torch.cuda.mem_get_info(index) for index in range(self._count)]
        return sum(total - free for free, total in infos)

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self._most = max(self._most, self._held())


# ── tools ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def need_gpus(options: argparse.Namespace, count: int = 1, *, can_rehearse: bool = False) -> None:
    """Make sure that there are as many, or that this is a rehearsal of a check that needs none."""
    import torch

    if options.rehearse and can_rehearse:
        return
    if torch.cuda.device_count() < count:
        raise NotHere(f"needs {count} CUDA GPU{'s' if count > 1 else ''}, {torch.cuda.device_count()} visible")


def need(package: str) -> None:
    """Make sure that a package is installed."""
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise NotHere(f"needs the package {package}")


def clips(count: int, side: int = 112, frames: int = 6) -> list[Any]:
    """Clips of noise, each another."""
    from deeptrace.records import Frames

    rng = np.random.default_rng(0)
    return [Frames.from_array(rng.integers(0, 255, (frames, side, side, 3), dtype=np.uint8), 2.0) for _ in range(count)]


def built(folder: Path, name: str, **sizes: int) -> Path:
    """A tiny checkpoint, made once."""
    from deeptrace.testing import tiny_model

    path = folder / "-".join([name, *map(str, sizes.values())])
    return path if path.exists() else tiny_model(name, path, **sizes)  # type: ignore[arg-type]


def logprobs(path: Path, batch: list[Any], **options: Any) -> Any:
    """The first token's log-probabilities for a batch of clips."""
    from deeptrace.models.hf.families import family_of

    family = family_of(path)
    model = family.load_model(path, **options)
    inputs = family.collate([family.encode(clip, "Is it fake?") for clip in batch], pad_left=True)
    return family.next_logprobs(model, {name: tensor.to(model.device) for name, tensor in inputs.items()})


# ── checks on tiny models ───────────────────────────────────────────────────────────────────────────────────────────


def same_in_float32(folder: Path, options: argparse.Namespace) -> str:
    """The GPU in float32 gives the CPU's log-probabilities within 1e-3."""
    need_gpus(options, can_rehearse=True)
    worst = 0.0
    for name in FAMILIES:
        path = built(folder, name)
        here, there = (logprobs(path, clips(2), device=d, dtype="float32") for d in ("cpu", options.device))
        worst = max(worst, float((here - there).abs().max()))
    assert worst < 1e-3, f"largest difference {worst:.2g}"
    return f"largest difference {worst:.2g}"


def close_in_bfloat16(folder: Path, options: argparse.Namespace) -> str:
    """bfloat16 on the GPU stays within 0.1 of float32 on the CPU, and a padded batch within 0.05 of single clips."""
    need_gpus(options, can_rehearse=True)
    worst = padded = 0.0
    for name in FAMILIES:
        path, batch = built(folder, name), [*clips(1), *clips(2, frames=3)[1:]]
        exact = logprobs(path, batch, device="cpu", dtype="float32")
        half = logprobs(path, batch, device=options.device, dtype="bfloat16")
        alone = [logprobs(path, [clip], device=options.device, dtype="bfloat16")[0] for clip in batch]
        worst = max(worst, float((exact - half).abs().max()))
        padded = max(padded, *(float((half[i] - one).abs().max()) for i, one in enumerate(alone)))
    assert worst < 0.1, f"largest difference {worst:.3f}"
    assert padded < 0.05, f"padding changes {padded:.3f}"
    return f"largest difference {worst:.3f}; by padding {padded:.3f}"


def memory_that_runs_out(folder: Path, options: argparse.Namespace) -> str:
    """With a limit on GPU memory a batch of 16 is halved until it fits, and the scores stay."""
    need_gpus(options)
    import torch

    from deeptrace.models import load
    from deeptrace.records import Score

    path, batch = built(folder, "videollama3"), clips(16, side=448)
    model = load(f"hf:{path}", device="cuda", batch_size=16, dtype="float32")
    model.label_share = 0.0  # random weights know no label; their numbers are compared all the same
    free = model.score(batch)
    peak = torch.cuda.max_memory_allocated()
    total = torch.cuda.get_device_properties(0).total_memory
    model.batch_size = 16
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(peak * 0.6 / total)
    try:
        tight = model.score(batch)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert all(isinstance(one, Score) for one in tight), tight
    worst = max(abs(a.p_fake - b.p_fake) for a, b in zip(free, tight, strict=True))
    assert model.batch_size < 16, "the limit was never reached"
    assert worst < 1e-3, f"scores differ by {worst:.2g}"
    return f"16 at once became {model.batch_size}; scores differ by {worst:.2g}"


def quantized(folder: Path, options: argparse.Namespace) -> str:
    """8-bit and 4-bit weights load, take less memory, and score within 0.3 of float32."""
    need_gpus(options)
    need("bitsandbytes")
    import torch

    path, said = built(folder, "qwen2.5-vl", hidden_size=512, num_layers=8), []
    exact = logprobs(path, clips(1), device="cpu", dtype="float32")
    for kind in (None, "int8", "nf4"):
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        from deeptrace.models.hf.families import family_of

        family = family_of(path)
        model = family.load_model(path, device="cuda", dtype="bfloat16", quantization=kind)
        used = (torch.cuda.memory_allocated() - before) / 2**20
        inputs = family.collate([family.encode(clips(1)[0], "Is it fake?")], pad_left=True)
        out = family.next_logprobs(model, {name: tensor.to(model.device) for name, tensor in inputs.items()})
        worst = float((out - exact).abs().max())
        said.append((kind or "bfloat16", used, worst))
        del model
    assert said[0][1] > said[1][1] > said[2][1], f"memory does not fall: {said}"
    assert all(worst < 0.3 for _, _, worst in said), said
    return "; ".join(f"{kind} {used:.0f} MiB, off by {worst:.3f}" for kind, used, worst in said)


def spread_over_gpus(folder: Path, options: argparse.Namespace) -> str:
    """A model spread over all GPUs gives what it gives on one."""
    need_gpus(options, 2)
    worst = 0.0
    for name in FAMILIES:
        path = built(folder, name, hidden_size=256, num_layers=8)
        one, all_of_them = (logprobs(path, clips(2), device=d, dtype="float32") for d in ("cuda:0", "auto"))
        worst = max(worst, float((one - all_of_them).abs().max()))
    assert worst < 1e-3, f"largest difference {worst:.2g}"
    return f"largest difference {worst:.2g}"


def qlora(folder: Path, options: argparse.Namespace) -> str:
    """LoRA on 4-bit weights: 20 steps lower the loss, and only the adapter changes."""
    need_gpus(options, can_rehearse=True)
    for package in ("peft",) if options.rehearse else ("bitsandbytes", "peft"):
        need(package)
    import peft
    import torch

    from deeptrace.models.hf.families import family_of

    path = built(folder, "qwen2.5-vl", hidden_size=512, num_layers=4)
    family = family_of(path)
    if options.rehearse:
        model = family.load_model(path, device="cpu", dtype="float32")
    else:
        model = family.load_model(path, device="cuda:0", dtype="bfloat16", quantization="nf4")
        model = peft.prepare_model_for_kbit_training(model)
    model = peft.get_peft_model(model, peft.LoraConfig(r=8, target_modules=r".*language_model.*\.(q_proj|v_proj)"))
    batch = family.collate([family.encode(clip, "Is it fake?", "FAKE. It is.") for clip in clips(2)])
    batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    losses = []
    for _ in range(20):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.1, losses
    assert all(torch.equal(p, frozen[name]) for name, p in model.named_parameters() if name in frozen)
    return f"loss {losses[0]:.3f} -> {losses[-1]:.3f}"


def fsdp(folder: Path, options: argparse.Namespace) -> str:
    """Two processes with FSDP give the losses of one process: 4 steps, float32."""
    need_gpus(options, 2, can_rehearse=True)
    path = built(folder, "videollama3")
    env = {**os.environ, "DEEPTRACE_FSDP_MODEL": str(path), "DEEPTRACE_FSDP_DEVICE": options.device}
    runs = []
    for count in (1, 2):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}", __file__]
        run = subprocess.run([*command, "--fsdp-worker"], env=env, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr[-500:]
        runs.append(json.loads(run.stdout.strip().splitlines()[-1]))
    worst = max(abs(a - b) for a, b in zip(*runs, strict=True))
    assert worst < 1e-3, f"losses {runs}"
    assert runs[0][-1] < runs[0][0], f"the loss does not fall: {runs[0]}"
    return f"losses differ by {worst:.2g}: {', '.join(f'{loss:.4f}' for loss in runs[1])}"


def fsdp_worker() -> None:
    """One process of `fsdp`: the same batch in all, so that the mean gradient is that of one process."""
    import torch
    import torch.distributed as dist
    from torch.distributed.fsdp import fully_shard

    from deeptrace.models.hf.families import family_of

    on_gpu = os.environ["DEEPTRACE_FSDP_DEVICE"] == "cuda"
    dist.init_process_group("nccl" if on_gpu else "gloo")
    rank = dist.get_rank()
    device = f"cuda:{rank}" if on_gpu else "cpu"
    if on_gpu:
        torch.cuda.set_device(rank)
    path = Path(os.environ["DEEPTRACE_FSDP_MODEL"])
    family = family_of(path)
    model = family.load_model(path, device=device, dtype="float32").train()
    for layer in model.model.language_model.layers:
        fully_shard(layer)
    fully_shard(model)
    batch = family.collate([family.encode(clip, "Is it fake?", "FAKE. It is.") for clip in clips(2)])
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(4):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    if rank == 0:
        print(json.dumps(losses))
    dist.destroy_process_group()


# ── the shipped recipes, on tiny models and tiny data ───────────────────────────────────────────────────────────────


def tiny_run(folder: Path, options: argparse.Namespace, recipe: str, out: str, **tables: Any) -> tuple[list[str], Path]:
    """Settings that put a tiny model and tiny data into a shipped recipe, and the folder of the run."""
    from deeptrace.data.example import make_example

    data = folder / "data"
    if not data.exists():
        make_example(data, n=8)
    name = "qwen2.5-vl" if "qwen" in recipe else "videollama3"
    given = {
        "model.base": str(built(folder, name)),
        "data.records": str(data),
        "data.cache": str(folder / "cache"),
        "data.workers": 0,
        "data.eval_split": "test",
        "hardware.fsdp": False,
        "sampling.max_frames": 4,
        "eval.videos": 2,
        "optim.max_steps": 4,
        "save.every_steps": 2,
        "log.every_steps": 1,
        "hardware.device": "auto" if options.device == "cuda" else "cpu",
        **tables,
    }
    if options.device == "cpu":
        given |= {"model.precision": "auto", "model.quantization": "none"}
    return [f"{key}={json.dumps(value)}" for key, value in given.items()], folder / "runs" / out


def trained(folder: Path, options: argparse.Namespace, recipe: str, out: str, **tables: Any) -> Path:
    """The result of a shipped recipe, run in this process."""
    from deeptrace.train import train

    settings, run_folder = tiny_run(folder, options, recipe, out, **tables)
    final = train(recipe, run_folder, settings)
    assert (final / "deeptrace.json").is_file()
    return final


def logged(run_folder: Path, key: str) -> list[float]:
    """What a run logged under this name, step by step."""
    rows = [json.loads(line) for line in (run_folder / "log.jsonl").read_text().splitlines()]
    return [row[key] for row in rows if key in row]


def sft_by_the_papers_recipes(folder: Path, options: argparse.Namespace) -> str:
    """Both recipes of the paper train four steps, to losses that are numbers, and their results answer."""
    need_gpus(options, can_rehearse=True)
    said = []
    for recipe in ("paper-videollama3-7b", "paper-qwen2.5-vl-7b"):
        final = trained(folder, options, recipe, recipe, **{"optim.accumulate": 1, "optim.batch_size": 2})
        losses = logged(final.parent, "loss")
        assert len(losses) == 4, losses
        said.append(f"{losses[0]:.2f} -> {losses[-1]:.2f}")
    return f"losses {'; '.join(said)}"


def lora_is_merged(folder: Path, options: argparse.Namespace) -> str:
    """Our LoRA recipes and their second stages train, and the merged result is a whole model that loads and answers."""
    need_gpus(options, can_rehearse=True)
    need("peft")
    from deeptrace.models import load

    for name in ("videollama3-7b", "qwen2.5-vl-7b"):
        final = trained(folder, options, name, name, **{"optim.accumulate": 1})
        second = trained(
            folder, options, f"{name}-stage2", f"{name}-stage2", **{"model.base": str(final), "optim.accumulate": 1}
        )
        assert not (second / "adapter_config.json").exists()
        outcomes = load(f"hf:{second}", device=options.device, max_new_tokens=8).inspect(clips(2))
        assert len(outcomes) == 2
    return "4 runs; the merged results answer"


def own_answers(folder: Path, options: argparse.Namespace) -> str:
    """GRPO, preference training and rejection sampling run by their recipes: answers are sampled and rewarded."""
    need_gpus(options, can_rehearse=True)
    need("peft")
    base = trained(
        folder, options, "videollama3-7b", "for-own-answers", **{"optim.max_steps": 30, "optim.accumulate": 1}
    )
    said = []
    for recipe, tables in (
        ("grpo", {"grpo.group": 4, "grpo.max_new_tokens": 24, "optim.accumulate": 1}),
        ("dpo", {"candidates.count": 4, "candidates.max_new_tokens": 24, "dpo.truth": True, "optim.accumulate": 1}),
        (
            "rejection",
            {"candidates.count": 16, "candidates.max_new_tokens": 96, "rejection.least": 0.05, "optim.accumulate": 1},
        ),
    ):
        final = trained(folder, options, recipe, recipe, **{"model.base": str(base), **tables})
        key = {"grpo": "reward", "dpo": "margin", "rejection": "loss"}[recipe]
        said.append(f"{recipe}: {key} {logged(final.parent, key)[-1]:.2f}")
    return "; ".join(said)


def started(folder: Path, options: argparse.Namespace, recipe: str, out: str, processes: int, **tables: Any) -> Path:
    """The result of a shipped recipe, run by torchrun in several processes."""
    settings, run_folder = tiny_run(folder, options, recipe, out, **tables)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m",
               "deeptrace", "train", recipe, "--out", str(run_folder)]  # fmt: skip
    for setting in settings:
        command += ["--set", setting]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-800:]
    return run_folder


def ddp_is_one_process(folder: Path, options: argparse.Namespace) -> str:
    """The paper's recipe by torchrun in two processes gives the losses of one with twice the batch."""
    need_gpus(options, 2, can_rehearse=True)
    tables = {"optim.accumulate": 1, "eval.videos": 0, "data.balance": []}
    one = started(folder, options, "paper-videollama3-7b", "ddp-1", 1, **tables, **{"optim.batch_size": 4})
    two = started(folder, options, "paper-videollama3-7b", "ddp-2", 2, **tables, **{"optim.batch_size": 2})
    losses = logged(one, "loss"), logged(two, "loss")
    worst = max(abs(a - b) for a, b in zip(*losses, strict=True))
    assert worst < 5e-3, losses
    return f"losses differ by {worst:.2g}"


def fsdp_by_recipe(folder: Path, options: argparse.Namespace) -> str:
    """The paper's recipe with ``hardware.fsdp`` trains in two processes, and its result loads in one."""
    need_gpus(options, 2)
    from deeptrace.models import load

    tables = {"optim.accumulate": 1, "optim.batch_size": 2, "eval.videos": 0, "hardware.fsdp": True}
    run_folder = started(folder, options, "paper-videollama3-7b", "fsdp", 2, **tables)
    outcomes = load(f"hf:{run_folder / 'final'}", device="cuda", max_new_tokens=8).inspect(clips(2))
    return f"losses {', '.join(f'{loss:.3f}' for loss in logged(run_folder, 'loss'))}; {len(outcomes)} answers"


def a_kill_changes_nothing(folder: Path, options: argparse.Namespace) -> str:
    """The paper's recipe, killed with ``kill -9`` after a checkpoint and gone on with, ends as one that was not."""
    need_gpus(options, can_rehearse=True)
    from safetensors.torch import load_file

    tables = {"optim.accumulate": 1, "optim.batch_size": 2, "optim.max_steps": 8, "eval.videos": 0}
    whole = trained(folder, options, "paper-videollama3-7b", "kill-never", **tables)
    settings, run_folder = tiny_run(folder, options, "paper-videollama3-7b", "kill", **tables)
    command = [sys.executable, "-m", "deeptrace", "train", "paper-videollama3-7b", "--out", str(run_folder)]
    for setting in settings:
        command += ["--set", setting]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (run_folder / "checkpoint-2").exists():
            time.sleep(0.02)
        process.kill()
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr[-800:]
    one, two = (load_file(path / "model.safetensors") for path in (whole, run_folder / "final"))
    worst = max(float((one[name].float() - two[name].float()).abs().max()) for name in one)
    assert worst < 1e-5, f"weights differ by {worst:.2g}"
    return f"weights differ by {worst:.2g}"


def the_benchmark_runs(folder: Path, options: argparse.Namespace) -> str:
    """A trained result goes through ``bench run`` and ``bench score``."""
    need_gpus(options, can_rehearse=True)
    final = trained(folder, options, "paper-videollama3-7b", "for-bench", **{"optim.accumulate": 1})
    out, data = folder / "bench", folder / "data"
    for command in (
        ["bench", "run", str(data), "--model", f"hf:{final}", "--split", "test", "--out", str(out)],
        ["bench", "score", str(out), str(data)],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "deeptrace", *command], capture_output=True, text=True, check=False
        )
        assert done.returncode in (0, 1), done.stderr[-800:]  # 1: a tiny model has no verdict on some video
    rows = (out / "verdicts.jsonl").read_text().splitlines()
    return f"{len(rows)} videos asked and scored"


# ── checks with real weights ────────────────────────────────────────────────────────────────────────────────────────


def real_weights_are_whole(folder: Path, options: argparse.Namespace) -> str:
    """`deeptrace models check` finds nothing wrong with the checkpoint."""
    if options.checkpoint is None:
        raise NotHere("needs --checkpoint")
    from deeptrace.models.hf.check import check

    report = check(options.checkpoint)
    assert report.ok, f"{len(report.missing)} missing, {len(report.extra)} left over, {report.not_finite}"
    return f"{report.tensors} tensors, {report.parameters:,} parameters"


def real_answers(folder: Path, options: argparse.Namespace) -> str:
    """Real weights in bfloat16: each clip is answered in the format asked for, and the score is the answer's."""
    if options.checkpoint is None or not options.video:
        raise NotHere("needs --checkpoint and --video")
    need_gpus(options)
    import torch

    from deeptrace.models import load
    from deeptrace.models.hf.estimate import estimate
    from deeptrace.records import Score, Verdict
    from deeptrace.video import probe

    model = load(f"hf:{options.checkpoint}", dtype="bfloat16")
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    outcomes = model.inspect(options.video)
    took = (time.perf_counter() - start) / len(options.video)
    scores = model.score(options.video)
    read = [outcome for outcome in outcomes if isinstance(outcome, Verdict)]
    assert len(read) == len(outcomes), [outcome for outcome in outcomes if not isinstance(outcome, Verdict)]
    for outcome, score in zip(read, scores, strict=True):
        assert isinstance(score, Score)
        assert outcome.p_fake is not None
        assert abs(outcome.p_fake - score.p_fake) < 0.02, f"{outcome.p_fake} and {score.p_fake}"
    info = probe(options.video[0])
    said = estimate(
        options.checkpoint, seconds=info.duration_seconds or 5.0, width=info.width, height=info.height, dtype="bfloat16"
    )
    peak = torch.cuda.max_memory_allocated()
    memory = f"peak {peak / 2**30:.1f} GiB, estimated {said.total / 2**30:.1f}"
    return f"{len(read)} read, {took:.1f} s each, {memory}"


def answers_of_the_original(folder: Path, options: argparse.Namespace) -> str:
    """A converted checkpoint answers as the original code did: label and box of every clip."""
    if options.checkpoint is None or options.expected is None:
        raise NotHere("needs --checkpoint and --expected")
    need_gpus(options)
    from deeptrace.answer import Space, parse
    from deeptrace.models import load
    from deeptrace.records import Verdict

    expected = json.loads(Path(options.expected).read_text())
    model = load(f"hf:{options.checkpoint}", dtype="bfloat16", frame_times="as-trained")
    outcomes = model.inspect(expected)
    same = texts = 0
    for outcome, text in zip(outcomes, expected.values(), strict=True):
        if not isinstance(outcome, Verdict) or outcome.origin.sampling is None:
            continue
        wanted = parse(text, model.format, Space.from_json(outcome.origin.sampling["space"]))
        texts += outcome.text == text
        if isinstance(wanted, Verdict):
            same += (wanted.label, [t.bbox_xyxy for t in wanted.traces]) == (
                outcome.label,
                [t.bbox_xyxy for t in outcome.traces],
            )
    assert same >= 0.9 * len(expected), f"{same} of {len(expected)} say the same"
    return f"{same} of {len(expected)} say the same, {texts} word for word"


def which_system_prompt(folder: Path, options: argparse.Namespace) -> str:
    """Labelled clips scored with the released system prompt and with none: which one the weights were trained with."""
    if options.checkpoint is None or options.labelled is None:
        raise NotHere("needs --checkpoint and --labelled")
    need_gpus(options)
    from deeptrace.models.hf.model import HfModel
    from deeptrace.models.hf.prompts import compare_prompts

    labels = json.loads(Path(options.labelled).read_text())
    found = compare_prompts(
        HfModel(options.checkpoint, dtype="bfloat16"), list(labels), [label == "fake" for label in labels.values()]
    )
    assert found.difference is not None, f"only {found.fakes} fakes and {found.reals} reals were scored"
    between = f"{found.difference:+.3f}, between {found.low:+.3f} and {found.high:+.3f}"
    return f"{found.fit}: log P(label) differs by {between} ({found.fakes} fakes, {found.reals} reals)"


CHECKS: tuple[Callable[[Path, argparse.Namespace], str], ...] = (
    same_in_float32,
    close_in_bfloat16,
    memory_that_runs_out,
    quantized,
    spread_over_gpus,
    qlora,
    fsdp,
    sft_by_the_papers_recipes,
    lora_is_merged,
    own_answers,
    ddp_is_one_process,
    fsdp_by_recipe,
    a_kill_changes_nothing,
    the_benchmark_runs,
    real_weights_are_whole,
    real_answers,
    answers_of_the_original,
    which_system_prompt,
)


def run(check: Callable[[Path, argparse.Namespace], str], folder: Path, options: argparse.Namespace) -> Row:
    """One check's line."""
    start = time.perf_counter()
    with PeakMemory() as peak:
        try:
            state, detail = "holds", check(folder, options)
        except NotHere as reason:
            state, detail = "not run", str(reason)
        except Exception as error:  # noqa: BLE001 - the table must be whole, whatever one check meets
            state, detail = "FAILS", f"{type(error).__name__}: {error}"
            if options.verbose:
                traceback.print_exc()
    return Row(check.__name__.replace("_", " "), state, detail, time.perf_counter() - start, peak.gib)


def main() -> None:
    """Run all checks and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="a folder of real weights")
    parser.add_argument("--video", action="append", default=[], help="a clip to ask it about; may be given again")
    parser.add_argument("--expected", help="JSON of clip -> text of the original code")
    parser.add_argument("--labelled", help='JSON of clip -> "fake" or "real"')
    parser.add_argument("--rehearse", action="store_true", help="run on the CPU what can run there")
    parser.add_argument("--list", action="store_true", help="say what would be checked")
    parser.add_argument("--verbose", action="store_true", help="tracebacks of what fails")
    parser.add_argument("--fsdp-worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.device = "cpu" if options.rehearse else "cuda"
    if options.fsdp_worker:
        fsdp_worker()
        return
    if options.list:
        for check in CHECKS:
            print(f"{check.__name__.replace('_', ' '):26} {(check.__doc__ or '').splitlines()[0]}")
        return
    import torch
    import transformers

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, GPUs: {', '.join(names) or 'none'}\n")
    with tempfile.TemporaryDirectory(prefix="deeptrace-gpu-check-") as folder:
        rows = []
        for check in CHECKS:
            row = run(check, Path(folder), options)
            rows.append(row)
            held = "         " if row.peak is None else f"{row.peak:5.1f} GiB"
            print(f"{row.state:8} {row.name:26} {row.seconds:6.1f} s  {held}  {row.detail}", flush=True)
    counts = {state: sum(row.state == state for row in rows) for state in ("holds", "FAILS", "not run")}
    print(f"\n{', '.join(f'{count} {state}' for state, count in counts.items())}")
    sys.exit(1 if counts["FAILS"] else 0)


if __name__ == "__main__":
    main()
