"""transformers' Trainer, with what a run needs that may be killed at any moment and must end the same.

Steps, optimizers, DDP, FSDP, mixed precision and resuming are the library's. Added here: checkpoints that are whole or
not there, an order of examples that depends on seed and epoch alone, a loss of the answer's tokens only, an end at the
first loss that is no number, and a checkpoint when the system asks us to stop.
"""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments
from typing_extensions import override

from deeptrace.errors import DeepTraceError, MissingExtra, TrainError
from deeptrace.files import write_jsonl
from deeptrace.models.hf.library import no_bars, one_line
from deeptrace.train import checkpoints
from deeptrace.train.vlm.balance import Order
from deeptrace.train.vlm.decisive import answer_loss
from deeptrace.train.vlm.identity import check_facts
from deeptrace.train.vlm.positions import last_positions
from deeptrace.train.vlm.tables import EvalTable, HardwareTable, LogTable, ModelTable, OptimTable, Part, SaveTable

logger = logging.getLogger(__name__)

LOG_NAME: Final = "log.jsonl"
_NEVER: Final = 1_000_000_000  # steps

Metrics = dict[str, float]
Evaluate = Callable[["RunTrainer"], Metrics]
Decorate = Callable[[Path], None]


@dataclass(frozen=True)
class RunTables:
    """The tables that say how a run goes, whatever it learns."""

    model: ModelTable
    optim: OptimTable
    save: SaveTable
    log: LogTable
    eval: EvalTable
    hardware: HardwareTable
    workers: int
    seed: int


def arguments(out: Path, tables: RunTables) -> TrainingArguments:
    """The recipe's tables in the library's words."""
    optim, save, log, hardware = tables.optim, tables.save, tables.log, tables.hardware
    precision = tables.model.precision
    on_gpu = hardware.device == "auto" and torch.cuda.is_available()
    given = TrainingArguments(
        output_dir=str(out),
        per_device_train_batch_size=optim.batch_size,
        gradient_accumulation_steps=optim.accumulate,
        learning_rate=optim.learning_rate,
        num_train_epochs=optim.epochs,
        max_steps=optim.max_steps or -1,
        lr_scheduler_type=optim.schedule,
        warmup_steps=optim.warmup,
        weight_decay=optim.weight_decay,
        max_grad_norm=optim.clip,
        optim="adamw_torch",
        bf16=precision == "mixed" or (precision == "auto" and on_gpu),
        activation_checkpointing=tables.model.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if tables.model.gradient_checkpointing else None,
        use_cpu=not on_gpu,
        fsdp="full_shard" if hardware.fsdp else None,
        fsdp_config={"version": 2, "state_dict_type": "FULL_STATE_DICT"} if hardware.fsdp else None,
        ddp_find_unused_parameters=False,
        average_tokens_across_devices=True,
        seed=tables.seed,
        logging_steps=log.every_steps,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=save.every_steps or _NEVER,
        eval_strategy="steps" if tables.eval.videos and tables.eval.every_steps else "no",
        eval_steps=tables.eval.every_steps or None,
        dataloader_num_workers=tables.workers,
        dataloader_pin_memory=on_gpu,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to="none",
        disable_tqdm=True,
    )
    return on_one_device(given)


def on_one_device(given: TrainingArguments) -> TrainingArguments:
    """The same, with one GPU for this process where it sees several, and a warning that says how to use all.

    The library would split each batch over them by rows (DataParallel), and the rows of pixels are not those of videos.
    """
    if given.n_gpu > 1:
        logger.warning(
            "this process sees %d GPUs and trains on one; for all of them: torchrun --nproc-per-node %d -m deeptrace "
            "train ...",
            given.n_gpu,
            given.n_gpu,
        )
        given._n_gpu = 1
    return given


class RunTrainer(Trainer):
    """The Trainer of a run. ``order`` chooses the examples; ``measure`` is called instead of the library's evaluation.

    ``decorate`` puts what else belongs to a checkpoint into its folder, before it gets its name.
    """

    def __init__(
        self,
        model: Any,
        *,
        out: Path,
        tables: RunTables,
        dataset: Any,
        collate: Any,
        order: Order,
        measure: Evaluate,
        decorate: Decorate,
        part_of: Callable[[str], Part],
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            model=model,
            args=arguments(out, tables),
            train_dataset=dataset,
            eval_dataset=dataset,  # never iterated: `evaluate` is ours
            data_collator=collate,
            callbacks=[*_writers(out, tables.log), _Stop(), _Lines(), _LogFile(out)],
        )
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)
        self.loss_is_scaled_for_ga = True
        self.model_accepts_loss_kwargs = True  # so that tokens are counted over a whole step, and over processes
        self._order = order
        self._measure = measure
        self._decorate = decorate
        self._part_of = part_of
        self._rates = tables.optim.rates
        self._facts = dict(facts or {})
        self._out = out
        self._keep = tables.save.keep
        self._staging: Path | None = None
        self._measured: tuple[int, Metrics] | None = None

    # ── examples ──

    @override
    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self._order

    # ── steps ──

    @override
    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The library's optimizer, its groups divided further where a part of the model has a rate of its own."""
        if self.optimizer is not None or not any(vars(self._rates).values()):
            return super().create_optimizer(model)
        of: Any = self.model if model is None else model
        decays = set(self.get_decay_parameter_names(of))
        groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
        for name, parameter in of.named_parameters():
            if parameter.requires_grad:
                rate = getattr(self._rates, self._part_of(name)) or self.args.learning_rate
                key = rate, self.args.weight_decay if name in decays else 0.0
                groups.setdefault(key, []).append(parameter)
        cls, options = self.get_optimizer_cls_and_kwargs(self.args, of)
        # What the library logs as the learning rate is that of the first group.
        common_first = sorted(groups.items(), key=lambda group: group[0][0] != self.args.learning_rate)
        tables = [{"params": held, "lr": rate, "weight_decay": decay} for (rate, decay), held in common_first]
        self.optimizer = cls(tables, **options)
        return self.optimizer

    # ── loss ──

    @override
    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The loss of the answers' tokens, weighted, as a mean over all tokens of the step in all processes."""
        inputs = dict(inputs)
        labels, weights = inputs.pop("labels"), inputs.pop("loss_weights", None)
        first = int((labels != -100).int().argmax(dim=1).min())  # where the first answer begins
        with last_positions(self.accelerator.unwrap_model(model), labels.shape[1] - first + 1):
            outputs = model(**inputs, use_cache=False)
        loss = answer_loss(outputs.logits, labels, weights, tokens=num_items_in_batch)
        if num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over processes
        return (loss, outputs) if return_outputs else loss

    @override
    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """One batch, forward and backward.

        Raises:
            TrainError: the loss is no number.
        """
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            newest = checkpoints.latest(self._out)
            raise TrainError(
                f"the loss is {float(loss)} at step {self.state.global_step + 1}. The newest checkpoint is "
                f"{'none' if newest is None else newest.name}; try a lower learning rate or a longer warmup"
            )
        return loss

    # ── measuring ──

    @override
    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> Metrics:
        """What `measure` says, logged as ``eval_...``; once a step, however often it is asked for."""
        if self._measured is not None and self._measured[0] == self.state.global_step:
            return self._measured[1]
        model: Any = self.model
        was_training = model.training
        model.eval()
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in self._measure(self).items()}
        model.train(was_training)
        self._measured = (self.state.global_step, metrics)
        self.log(dict(metrics))  # a copy: the library adds the epoch
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    # ── checkpoints ──

    @override
    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The model as safetensors, and the processor, without the library's bars."""
        with no_bars():
            super().save_model(output_dir, _internal_call)

    @override
    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging or self._out)

    @override
    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        name = f"checkpoint-{self.state.global_step}"
        with checkpoints.saving(self._out, name, self.state_bytes()):
            self._save_whole(name, model, trial)

    def _save_whole(self, name: str, model: Any, trial: Any) -> None:
        staging = self._out / checkpoints.STAGING
        if self.args.should_save:
            checkpoints.begin(self._out)
        self.accelerator.wait_for_everyone()
        self._staging = staging
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self._staging = None
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            self._decorate(staging / name)
            checkpoints.write_manifest(staging / name, self.state.global_step, self.facts())
            checkpoints.publish(staging / name, self._out / name)
            checkpoints.prune(self._out, self._keep)
        self.accelerator.wait_for_everyone()

    def facts(self) -> dict[str, Any]:
        """What must be the same when the run goes on, see `deeptrace.train.vlm.identity`."""
        return dict(self._facts)

    def result_bytes(self) -> int:
        """About how many bytes the result takes: a whole model's, which one with an adapter becomes."""
        model: Any = self.accelerator.unwrap_model(self.model)
        return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())

    def state_bytes(self) -> int:
        """About how many bytes a checkpoint takes: what is saved of the weights, and Adam's two numbers a weight."""
        model: Any = self.accelerator.unwrap_model(self.model)
        whole = not hasattr(model, "peft_config")
        sizes = [
            (parameter.numel() * parameter.element_size(), parameter.requires_grad) for parameter in model.parameters()
        ]
        return sum(size * ((whole or trained) + 2 * trained) for size, trained in sizes)

    @override
    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with _loading(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    @override
    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with _loading(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    @override
    def _load_rng_state(self, checkpoint: str | None) -> None:
        with _loading(checkpoint):
            super()._load_rng_state(checkpoint)


@contextmanager
def _loading(checkpoint: str | None) -> Iterator[None]:
    """What the library raises over a state that it cannot read becomes the error that names the checkpoint."""
    try:
        yield
    except DeepTraceError:
        raise
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        if checkpoint is None:
            raise
        raise checkpoints.damaged(Path(checkpoint), f"{type(error).__name__}: {one_line(error)}") from None


def run(trainer: RunTrainer, out: Path) -> None:
    """Train to the end, from the newest checkpoint where there is one.

    Raises:
        TrainError: the newest checkpoint is damaged, or of another run; or the system asked us to stop, and what was
            done is in a checkpoint.
        FileError: a checkpoint cannot be written.
    """
    newest = checkpoints.latest(out)
    if newest is not None:
        if trainer.args.process_index == 0:
            check_facts(checkpoints.verify(newest), trainer.facts(), newest.name)
        trainer.accelerator.wait_for_everyone()
        logger.info("going on after step %d", checkpoints.step_of(newest))
    with _stop_on_signals(trainer):
        trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
    if trainer.state.global_step < trainer.state.max_steps:
        raise TrainError(
            f"stopped as asked after step {trainer.state.global_step} of {trainer.state.max_steps}, with a checkpoint. "
            "The same command goes on"
        )


# ── being stopped ───────────────────────────────────────────────────────────────────────────────────────────────────


class _Stop(TrainerCallback):
    """Ends a run after the step under way, with a checkpoint, once it ``is_due``."""

    def __init__(self) -> None:
        self.is_due = False

    @override
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        is_due = self.is_due
        if args.world_size > 1:  # all processes stop after the same step, whichever of them was asked
            flag = torch.tensor([float(is_due)], device=args.device)
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
            is_due = bool(flag.item())
        if is_due:
            control.should_save = control.should_training_stop = True


@contextmanager
def _stop_on_signals(trainer: RunTrainer) -> Iterator[None]:
    stop = next(callback for callback in trainer.callback_handler.callbacks if isinstance(callback, _Stop))

    def ask(number: int, _: object) -> None:
        logger.warning("%s: saving after this step, then stopping", signal.Signals(number).name)
        stop.is_due = True

    try:
        before = signal.signal(signal.SIGTERM, ask)
    except ValueError:  # not the main thread: nobody can be asked
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# ── being watched ───────────────────────────────────────────────────────────────────────────────────────────────────


class _Lines(TrainerCallback):
    """A line a log step: where the run is, how it goes, and when it will be done."""

    def __init__(self) -> None:
        self._began: tuple[float, int] | None = None

    @override
    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._began = (time.monotonic(), state.global_step)

    @override
    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        if not state.is_world_process_zero or not logs or "train_runtime" in logs:
            return
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in logs.items() if name != "epoch")
        logger.info("step %d of %d: %s%s", state.global_step, state.max_steps, numbers, self._left(state))

    def _left(self, state: Any) -> str:
        if self._began is None or state.global_step <= self._began[1]:
            return ""
        each = (time.monotonic() - self._began[0]) / (state.global_step - self._began[1])
        minutes = math.ceil(each * (state.max_steps - state.global_step) / 60)
        return f"; {each:.2f} s a step, about {minutes} min left"


class _LogFile(TrainerCallback):
    """Everything that was logged, as ``log.jsonl``: written at checkpoints, so that a resumed run repeats no line."""

    def __init__(self, out: Path) -> None:
        self._file = out / LOG_NAME

    @override
    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            write_jsonl(self._file, state.log_history)

    on_train_end = on_save


def _writers(out: Path, log: LogTable) -> Sequence[Any]:
    writers: list[Any] = []
    if log.tensorboard:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtra("TensorBoard", "train") from None
        from transformers.integrations.integration_utils import TensorBoardCallback

        writers.append(TensorBoardCallback(SummaryWriter(str(out / "tensorboard"))))
    if log.wandb:
        from transformers.integrations.integration_utils import WandbCallback, is_wandb_available

        if not is_wandb_available():
            raise MissingExtra("Weights & Biases", "wandb")
        writers.append(WandbCallback())
    return writers
