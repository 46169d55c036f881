"""The conversion of VideoLLaMA 3's own checkpoints, and what `models check` finds in any checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from deeptrace.errors import ModelError
from deeptrace.models.base import Sampling
from deeptrace.models.hf.checkpoint import CheckpointCard, read_card, write_card
from deeptrace.testing import tiny_model
from tests.models.source_checkpoint import CONFIG_7B, make_source, original_name

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file  # noqa: E402

from deeptrace.models.hf.check import check  # noqa: E402
from deeptrace.models.hf.convert import convert, plan  # noqa: E402
from deeptrace.models.hf.families import family_of  # noqa: E402
from deeptrace.models.hf.native import match, native_config, native_name, native_shapes  # noqa: E402


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("source") / "src")


@pytest.fixture
def copied(source: Path, tmp_path: Path) -> Path:
    """A copy to do harm to."""
    shutil.copytree(source, tmp_path / "src")
    return tmp_path / "src"


def change_json(path: Path, **change: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


def shard_with(folder: Path, name: str) -> tuple[Path, dict[str, Any]]:
    file = folder / json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"][name]
    return file, load_file(file)


# ── the plan ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tied", [False, True])
def test_seven_billion_parameters_map_with_nothing_missing_or_left_over(tied: bool) -> None:
    """The original names and shapes of the 7B model, written out from its dimensions; no memory is taken."""
    hidden, inner, vision, vision_inner = 3584, 18944, 1152, 4304
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (152064, hidden),
        "model.norm.weight": (hidden,),
        "lm_head.weight": (152064, hidden),
        "model.mm_projector.readout.0.weight": (hidden, vision * 4 // 4),
        "model.mm_projector.readout.0.bias": (hidden,),
        "model.mm_projector.readout.2.weight": (hidden, hidden),
        "model.mm_projector.readout.2.bias": (hidden,),
        "model.vision_encoder.embeddings.patch_embedding.weight": (vision, 3, 14, 14),
        "model.vision_encoder.embeddings.patch_embedding.bias": (vision,),
        "model.vision_encoder.post_layernorm.weight": (vision,),
        "model.vision_encoder.post_layernorm.bias": (vision,),
    }
    for layer in range(28):
        at = f"model.layers.{layer}."
        for side, width in (("q", hidden), ("k", 512), ("v", 512)):
            shapes[f"{at}self_attn.{side}_proj.weight"] = (width, hidden)
            shapes[f"{at}self_attn.{side}_proj.bias"] = (width,)
        shapes[f"{at}self_attn.o_proj.weight"] = (hidden, hidden)
        shapes[f"{at}mlp.gate_proj.weight"] = shapes[f"{at}mlp.up_proj.weight"] = (inner, hidden)
        shapes[f"{at}mlp.down_proj.weight"] = (hidden, inner)
        shapes[f"{at}input_layernorm.weight"] = shapes[f"{at}post_attention_layernorm.weight"] = (hidden,)
    for layer in range(27):
        at = f"model.vision_encoder.encoder.layers.{layer}."
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes[f"{at}self_attn.{part}.weight"] = (vision, vision)
            shapes[f"{at}self_attn.{part}.bias"] = (vision,)
        for part in ("layer_norm1", "layer_norm2"):
            shapes[f"{at}{part}.weight"] = shapes[f"{at}{part}.bias"] = (vision,)
        shapes[f"{at}mlp.fc1.weight"], shapes[f"{at}mlp.fc1.bias"] = (vision_inner, vision), (vision_inner,)
        shapes[f"{at}mlp.fc2.weight"], shapes[f"{at}mlp.fc2.bias"] = (vision, vision_inner), (vision,)
    assert len(shapes) == 779
    config = native_config({**CONFIG_7B, "tie_word_embeddings": tied}, image_token_id=151655, video_token_id=151656)
    planned = match(shapes, config)
    assert (planned.missing, planned.extra, planned.wrong_shape) == ((), (), ())
    assert planned.tied == (("lm_head.weight",) if tied else ())
    wanted = native_shapes(config)
    assert {planned.names[name]: shape for name, shape in shapes.items() if name in planned.names} == wanted
    if not tied:
        assert sum(torch.Size(shape).numel() for shape in wanted.values()) == 8_044_744_944


def test_names_go_there_and_back() -> None:
    config = native_config(CONFIG_7B, image_token_id=1, video_token_id=2)
    for name in native_shapes(config):
        assert native_name(original_name(name)) == name
    assert (
        native_name("model.vision_encoder.vision_encoder.post_layernorm.bias")
        == "model.vision_model.post_layernorm.bias"
    )
    assert native_name("optimizer.state") is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "llava"}, "only 'videollama3_qwen2' is converted"),
        ({"mm_projector_type": "linear"}, "mm_projector_type is 'linear'"),
        ({"rope_scaling": {"type": "yarn"}}, "rope_scaling"),
        ({"vision_encoder_config": None}, "no vision_encoder_config"),
        ({"hidden_size": "many"}, "hidden_size is 'many', expected a whole number from 1 to"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, expected a whole number from 1 to 512"),
    ],
)
def test_a_configuration_that_is_another_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        native_config({**CONFIG_7B, **change}, image_token_id=1, video_token_id=2)


# ── for real ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("shards", "tied", "nested"), [(1, False, True), (3, True, False)])
def test_a_converted_model_is_the_same_model(tmp_path: Path, shards: int, tied: bool, nested: bool) -> None:
    source = make_source(tmp_path / "src", shards=shards, tied=tied, nested=nested)
    steps: list[tuple[int, int]] = []
    done = convert(
        source, tmp_path / "dst", trained_for="rewarddata", progress=lambda done, total: steps.append((done, total))
    )
    assert steps[-1][0] == steps[-1][1]
    assert check(tmp_path / "dst").ok
    family = family_of(tmp_path / "dst")
    converted = family.load_model(tmp_path / "dst", device="cpu").state_dict()
    original = load_file(tmp_path / "src-native" / "model.safetensors")
    if tied:
        original["lm_head.weight"] = original["model.language_model.embed_tokens.weight"]
    assert set(converted) == set(original)
    assert all(torch.equal(converted[name], tensor) for name, tensor in original.items())
    assert done.left_out == ("image_aspect_ratio", "is_alignment", "mm_attn_implementation", "vision_encoder")
    assert not list(tmp_path.glob(".*converting"))


def test_what_it_is_asked_is_written_beside_it(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "paper", trained_for="rewarddata")
    card = read_card(tmp_path / "paper")
    assert card is not None
    assert (card.format, card.space, card.sampling, card.frame_times) == (
        "trained", "source", Sampling(2.0, 180), "as-trained",
    )  # fmt: skip
    convert(source, tmp_path / "base", trained_for="general", frame_times="true", max_frames=32)
    card = read_card(tmp_path / "base")
    assert card is not None
    assert (card.format, card.space, card.sampling, card.frame_times) == (
        "zero-shot", "per-mille", Sampling(1.0, 32), "true",
    )  # fmt: skip
    family = family_of(tmp_path / "base")
    assert family.size == {"shortest_edge": 12544, "longest_edge": 12845056}
    assert family.processor.video_processor.use_token_compression is True


def test_what_it_was_trained_for_is_never_guessed(copied: Path, tmp_path: Path) -> None:
    """A base model and one of the paper look alike: the tool asks, unless the checkpoint says it itself."""
    with pytest.raises(ModelError, match=r"nothing in 'src' says what it was trained to be asked.*--trained-for"):
        convert(copied, tmp_path / "dst")
    assert not (tmp_path / "dst").exists()
    write_card(
        copied, CheckpointCard(format="json", space="resized", sampling=Sampling(4.0, 16), system_prompt="Look.")
    )
    card = convert(copied, tmp_path / "dst").card
    assert (card.format, card.space, card.sampling, card.system_prompt) == (
        "json", "resized", Sampling(4.0, 16), "Look.",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("option", "prompt"), [(None, "You are VideoLLaMA3 created"), ("", ""), ("Be brief.", "Be brief.")]
)
def test_the_system_prompt_is_written_beside_it(source: Path, tmp_path: Path, option: str | None, prompt: str) -> None:
    convert(source, tmp_path / "dst", trained_for="general", system_prompt=option)
    card = read_card(tmp_path / "dst")
    assert card is not None
    assert card.system_prompt is not None
    assert card.system_prompt.startswith(prompt)
    assert bool(card.system_prompt) == bool(prompt)
    family = family_of(tmp_path / "dst")
    assert ("<|im_start|>system" in family.render_prompt("Is it fake?")) == bool(prompt)


def test_a_trainers_files_are_named_and_never_opened(copied: Path, tmp_path: Path) -> None:
    for name in ("optimizer.pt", "rng_state_0.pth", "optimizer.safetensors", "global_step100/mp_rank_00_states.pt"):
        (copied / name).parent.mkdir(exist_ok=True)
        (copied / name).write_bytes(b"whatever a pickle may do")
    done = convert(copied, tmp_path / "dst", trained_for="general")
    assert done.skipped == (
        "global_step100/mp_rank_00_states.pt", "optimizer.pt", "optimizer.safetensors", "rng_state_0.pth",
    )  # fmt: skip
    assert not list((tmp_path / "dst").rglob("*.pt"))
    shutil.copy(copied / "optimizer.pt", tmp_path / "dst")
    report = check(tmp_path / "dst")
    assert report.ok
    assert "a trainer's state, never opened: optimizer.pt" in report.notes


def test_preprocessing_is_the_checkpoints(copied: Path, tmp_path: Path) -> None:
    change_json(copied / "config.json", use_token_compression=False, fps=3, max_frames=64)
    change_json(copied / "preprocessor_config.json", min_tokens=4, max_tokens=100, image_mean=[0.1, 0.2, 0.3])
    done = convert(copied, tmp_path / "dst", trained_for="rewarddata")
    assert done.card.sampling == Sampling(3.0, 64)
    family = family_of(tmp_path / "dst")
    video = family.processor.video_processor
    assert family.size == {"shortest_edge": 4 * 784, "longest_edge": 100 * 784}
    assert (video.use_token_compression, list(video.image_mean)) == (False, [0.1, 0.2, 0.3])


def test_a_card_beside_the_source_comes_before_its_config(copied: Path, tmp_path: Path) -> None:
    change_json(copied / "config.json", fps=3, max_frames=64)
    size = {"shortest_edge": 3136, "longest_edge": 6272}
    write_card(
        copied, CheckpointCard(sampling=Sampling(4.0, 32, 240), size=size, system_prompt="Look.", extra={"a": 1})
    )
    for trained_for in (None, "rewarddata"):
        card = convert(copied, tmp_path / f"dst-{trained_for}", trained_for=trained_for).card  # type: ignore[arg-type]
        assert (card.sampling, card.size, card.system_prompt) == (Sampling(4.0, 32, 240), size, "Look.")
        assert card.extra["a"] == 1
        assert card.format == ("zero-shot" if trained_for is None else "trained")
    card = convert(copied, tmp_path / "own", fps=5, max_frames=7, system_prompt="").card
    assert (card.sampling, card.system_prompt) == (Sampling(5.0, 7, 240), "")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("fps", -3, "config.json: fps: -3 is not greater than 0. .*--fps"),
        ("fps", True, "config.json: fps: True is not a number"),
        ("max_frames", 0, "config.json: max_frames: 0 is not at least 1. .*--max-frames"),
        ("max_frames", 2.5, "config.json: max_frames: 2.5 is not a whole number"),
    ],
)
def test_a_rate_that_is_none_is_refused_before_anything_is_written(
    copied: Path, tmp_path: Path, key: str, value: Any, words: str
) -> None:
    change_json(copied / "config.json", **{key: value})
    with pytest.raises(ModelError, match=words):
        convert(copied, tmp_path / "dst", trained_for="general")
    assert [path.name for path in tmp_path.iterdir()] == ["src"]
    with pytest.raises(ModelError, match="fps: -1 is not greater than 0"):
        convert(copied, tmp_path / "dst", trained_for="general", fps=-1)


def test_what_does_not_fit_is_listed_and_nothing_is_written(copied: Path, tmp_path: Path) -> None:
    file, tensors = shard_with(copied, "model.norm.weight")
    tensors["model.rotary.inv_freq"] = torch.zeros(3)
    tensors["model.norm.weight"] = torch.zeros(5)
    save_file(tensors, file)
    file, tensors = shard_with(copied, "lm_head.weight")
    tensors.pop("lm_head.weight")
    save_file(tensors, file)
    planned = plan(copied)
    assert planned.missing == ("lm_head.weight",)
    assert planned.extra == ("model.rotary.inv_freq",)
    assert planned.wrong_shape == ("model.norm.weight: [5], expected [64]",)
    report = check(copied)
    assert (report.missing, report.extra, report.ok) == (planned.missing, planned.extra, False)
    words = r"1 missing \(lm_head.weight\); 1 left over \(model.rotary.inv_freq\); 1 of another shape"
    with pytest.raises(ModelError, match=words):
        convert(copied, tmp_path / "dst", trained_for="rewarddata")
    assert not (tmp_path / "dst").exists()


def test_nan_is_refused(copied: Path, tmp_path: Path) -> None:
    file, tensors = shard_with(copied, "model.norm.weight")
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, file)
    assert check(copied).not_finite == {"model.norm.weight": 1}
    with pytest.raises(ModelError, match=r"NaN or infinity: model.language_model.norm.weight \(1\)"):
        convert(copied, tmp_path / "dst", trained_for="rewarddata")
    assert not (tmp_path / "dst").exists()
    assert not list(tmp_path.glob(".*converting"))


def test_a_tied_head_that_is_not_the_embedding_is_refused(tmp_path: Path) -> None:
    source = make_source(tmp_path / "src", shards=1)
    change_json(source / "config.json", tie_word_embeddings=True)
    with pytest.raises(ModelError, match=r"'lm_head.weight' is not the embedding"):
        plan(source)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda f: (f / "pytorch_model.bin").write_bytes(b"\x80"), "could run code"),
        (lambda f: (f / "config.json").unlink(), "config.json"),
        (lambda f: (f / "config.json").write_text("{"), "not JSON"),
        (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer"),
        (lambda f: (f / "model-00002-of-00002.safetensors").unlink(), "not a safetensors file of this folder"),
        (lambda f: (f / "preprocessor_config.json").write_text("[]"), "holds no object"),
    ],
)
def test_a_damaged_or_unsafe_source_is_refused(copied: Path, tmp_path: Path, harm: Any, words: str) -> None:
    harm(copied)
    with pytest.raises(ModelError, match=words):
        convert(copied, tmp_path / "dst", trained_for="rewarddata")
    assert not (tmp_path / "dst").exists()


def test_what_is_there_is_not_overwritten_and_what_was_killed_is_done_anew(source: Path, tmp_path: Path) -> None:
    (tmp_path / ".dst.converting").mkdir()
    (tmp_path / ".dst.converting" / "model.safetensors").write_bytes(b"half")
    convert(source, tmp_path / "dst", trained_for="rewarddata")
    assert check(tmp_path / "dst").ok
    with pytest.raises(ModelError, match="is there already"):
        convert(source, tmp_path / "dst", trained_for="rewarddata")
    with pytest.raises(ModelError, match="Convert it once"):
        family_of(source)


# ── models check ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["videollama3", "qwen2.5-vl", "qwen3-vl"])
def test_a_whole_checkpoint_is_in_order(name: Any, tmp_path: Path) -> None:
    report = check(tiny_model(name, tmp_path / "m", hidden_size=64, num_layers=1))
    assert report.ok
    assert report.not_finite == {}
    assert report.notes == ("no deeptrace.json: asked as the family's released models are",)


def test_what_is_wrong_with_a_checkpoint_is_named(tmp_path: Path) -> None:
    """Under the names that released Qwen 2.5 VL checkpoints use, which the library renames while loading."""
    folder = tiny_model("qwen2.5-vl", tmp_path / "m", hidden_size=64, num_layers=1)
    weights = {
        name.replace("model.language_model.", "model.").replace("model.visual.", "visual."): tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert check(folder).ok
    weights.pop("model.norm.weight")
    weights["extra.weight"] = torch.zeros(3)
    weights["lm_head.weight"] = torch.full((4, 4), float("inf"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    report = check(folder)
    assert report.missing == ("model.language_model.norm.weight",)
    assert report.extra == ("extra.weight",)
    assert report.wrong_shape == ("lm_head.weight: [4, 4] in the file, [512, 64] in the model",)
    assert report.not_finite == {"lm_head.weight": 16}
    assert not report.ok
    assert check(folder, numbers=False).not_finite is None


def test_an_adapter_is_checked_against_its_base(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base = tiny_model("videollama3", tmp_path / "base", hidden_size=64, num_layers=1)
    other = tiny_model("videollama3", tmp_path / "other", hidden_size=96, num_layers=1)
    model = family_of(base).load_model(base, device="cpu")
    config = peft.LoraConfig(r=2, target_modules=r".*language_model.*\.(q_proj|v_proj)")
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    assert check(tmp_path / "adapter", base=base).ok
    report = check(tmp_path / "adapter", base=other)
    assert report.wrong_shape
    assert not report.ok
    with pytest.raises(ModelError, match=r"say where that is \(--base FOLDER\)"):
        check(tmp_path / "adapter")


def test_other_models_are_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(ModelError, match="has no safetensors weights"):
        check(tmp_path)
    with pytest.raises(ModelError, match="'llava' is not a family known here"):
        family_of(tmp_path)
    with pytest.raises(ModelError, match="is not a folder"):
        family_of(tmp_path / "absent")
