"""The tables of a recipe that trains a language model, the same for every stage: what each setting means, its range."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

from deeptrace.answer import FORMATS
from deeptrace.answer.space import Kind
from deeptrace.schema import Count, NotNegative, Positive, Range, Share, WholeNumber
from deeptrace.train.vlm.balance import By
from deeptrace.train.vlm.examples import Answers
from deeptrace.train.vlm.second_look import SecondLookTable

Part = Literal["vision", "projector", "language"]


@dataclass(frozen=True)
class ModelTable:
    """Which checkpoint is trained, and which of its parts.

    ``base``: a checkpoint folder. ``freeze``: parts that stay as they are. ``precision``: "mixed" keeps float32 weights
    and computes in bfloat16; "bfloat16" keeps bfloat16 weights, which a [lora] table leaves as they are; "auto" is
    mixed on a GPU, float32 on the CPU.
    ``quantization``: the base's weights are packed and stay as they are; needs a [lora] table and a GPU.
    """

    base: str
    freeze: tuple[Part, ...] = ()
    precision: Literal["auto", "float32", "bfloat16", "mixed"] = "auto"
    quantization: Literal["none", "int8", "nf4"] = "none"
    gradient_checkpointing: bool = False


@dataclass(frozen=True)
class LoraTable:
    """Small matrices beside the weights of these modules (names within ``parts``), and nothing else, are trained.

    ``keep``: "merged" writes a whole model that needs no PEFT, "adapter" only the small matrices.
    """

    rank: Count = 16
    alpha: Count = 32
    dropout: Share = 0.0
    modules: tuple[str, ...] = (
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "gate_up_proj", "down_proj",
    )  # fmt: skip
    parts: tuple[Part, ...] = ("language",)
    keep: Literal["merged", "adapter"] = "merged"


@dataclass(frozen=True)
class DataTable:
    """Records, and how they become examples.

    ``records``: a file or folder that `deeptrace data check` reads; ``root``: where the videos are, if elsewhere.
    ``answers``: "per-video" puts all traces of a video into one answer; "per-trace" makes an example of each, as in the
    paper. ``balance``: what must not tell the label, see docs/train.md. ``unreadable``: "error" stops at the first
    video that cannot be read; "skip" reads all before the first step, and leaves out and counts those that cannot.
    ``cache``: a folder for frames that were read. ``workers``: processes that read and prepare; 0: none.
    """

    records: str
    root: str | None = None
    train_split: str = "train"
    eval_split: str = "val"
    answers: Answers = "per-video"
    balance: tuple[By, ...] = ("label", "source", "length")
    unreadable: Literal["error", "skip"] = "error"
    cache: str | None = None
    workers: WholeNumber = 2

    def problems(self) -> Iterator[str]:
        """What does not fit together."""
        if self.unreadable == "skip" and self.cache is None:
            yield 'unreadable: "skip" reads every video before the first step, which needs a cache'


@dataclass(frozen=True)
class QuestionTable:
    """What is asked, and in which form it is answered. ``space`` None: as the base checkpoint says, or its family."""

    format: str = "trained"
    space: Kind | None = None


@dataclass(frozen=True)
class SamplingTable:
    """Which frames are shown. None: as the base checkpoint says, or its family.

    ``shortest_edge`` and ``longest_edge`` bound the pixels of the input as the family's processor counts them; both or
    neither. ``short_side`` shrinks frames when they are read.
    """

    fps: Positive | None = None
    max_frames: Count | None = None
    short_side: Count | None = None
    shortest_edge: Count | None = None
    longest_edge: Count | None = None

    def problems(self) -> Iterator[str]:
        """What does not fit together."""
        if (self.shortest_edge is None) != (self.longest_edge is None):
            yield "shortest_edge: goes with longest_edge"


@dataclass(frozen=True)
class RatesTable:
    """Learning rates of parts; None: that of the table above. All follow one schedule."""

    vision: Positive | None = None
    projector: Positive | None = None
    language: Positive | None = None


@dataclass(frozen=True)
class OptimTable:
    """AdamW. ``batch_size`` is per process; ``accumulate`` batches make a step. ``max_steps`` ends before ``epochs``.

    ``warmup`` is a share of all steps. ``clip``: the largest gradient norm; 0 does not clip.
    """

    learning_rate: Positive = 1e-5
    rates: RatesTable = field(default_factory=RatesTable)
    epochs: Positive = 1.0
    max_steps: Count | None = None
    batch_size: Count = 1
    accumulate: Count = 1
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Annotated[float, Range(low=0, high=0.9)] = 0.03
    weight_decay: NotNegative = 0.0
    clip: NotNegative = 1.0


@dataclass(frozen=True)
class EvalTable:
    """Every so many steps (0: only at the end) ``videos`` of the eval split are asked and measured (0: none)."""

    every_steps: WholeNumber = 200
    videos: WholeNumber = 64
    batch_size: Count = 1
    max_new_tokens: Count = 256


@dataclass(frozen=True)
class SaveTable:
    """A checkpoint every so many steps (0: only at the end); the newest ``keep`` stay."""

    every_steps: WholeNumber = 200
    keep: Count = 2


@dataclass(frozen=True)
class LogTable:
    """Every so many steps a line, and where else it goes."""

    every_steps: Count = 10
    tensorboard: bool = False
    wandb: bool = False


@dataclass(frozen=True)
class HardwareTable:
    """``device``: "auto" takes the GPU where there is one. ``fsdp``: weights are shared out over the processes."""

    device: Literal["auto", "cpu"] = "auto"
    fsdp: bool = False


@dataclass(frozen=True)
class LicenceTable:
    """Under which licences base weights and data are; they go into the model card. "unknown" permits nothing."""

    weights: str = "unknown"
    annotations: str = "unknown"
    videos: str = "unknown"


@dataclass(frozen=True)
class LanguageRecipe:
    """What the recipes of every stage share: a model, data, a question, and how the run goes."""

    kind: str
    model: ModelTable
    data: DataTable
    name: str = ""
    seed: WholeNumber = 0
    lora: LoraTable | None = None
    question: QuestionTable = field(default_factory=QuestionTable)
    sampling: SamplingTable = field(default_factory=SamplingTable)
    optim: OptimTable = field(default_factory=OptimTable)
    second_look: SecondLookTable = field(default_factory=SecondLookTable)
    eval: EvalTable = field(default_factory=EvalTable)
    save: SaveTable = field(default_factory=SaveTable)
    log: LogTable = field(default_factory=LogTable)
    hardware: HardwareTable = field(default_factory=HardwareTable)
    licences: LicenceTable = field(default_factory=LicenceTable)

    def problems(self) -> Iterator[str]:
        """What does not fit together."""
        if self.model.quantization != "none" and self.lora is None:
            yield "model.quantization: packed weights cannot be trained; add a [lora] table"
        if self.model.precision == "bfloat16" and self.lora is None:
            yield (
                'model.precision: "bfloat16" alone loses most updates, which are smaller than its steps; "mixed" keeps '
                "float32 weights and computes in bfloat16, or add a [lora] table, whose matrices are float32"
            )
        trained = set(get_args(Part)) - set(self.model.freeze) if self.lora is None else set(self.lora.parts)
        for part in get_args(Part):
            if getattr(self.optim.rates, part) is not None and part not in trained:
                yield f"optim.rates.{part}: that part is not trained"
        asked = FORMATS.get(self.question.format)
        if self.second_look.share and asked is not None and "onset" not in asked.fields:
            yield f"second_look.share: the question {self.question.format!r} asks for no time: nothing can be closer"
        if self.second_look.share == 1:
            yield "second_look.share: 1 leaves no first look, which finds the moment"
        if len(set(self.model.freeze)) == len(get_args(Part)) and self.lora is None:
            yield "model.freeze: freezes everything, so that nothing is trained"


def own_answers_problems(recipe: LanguageRecipe) -> Iterator[str]:
    """What does not fit a stage in which the model's own answers are rewarded."""
    if recipe.hardware.fsdp:
        yield "hardware.fsdp: answers cannot be generated from weights that are shared out; use DDP, or LoRA"
    if recipe.data.answers != "per-video":
        yield 'data.answers: the reward speaks of all traces of a video; use "per-video"'
