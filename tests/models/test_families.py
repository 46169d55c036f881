"""What a language model is shown: prompt, grid, times and coordinates of each family, frozen; and that it adds up."""

from __future__ import annotations

import json
import pickle  # noqa: TID251 - what the worker of a data loader is sent
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrace.answer import QUESTIONS, Space, parse
from deeptrace.errors import ModelError
from deeptrace.models.base import Sampling
from deeptrace.models.hf.checkpoint import CheckpointCard
from deeptrace.records import Frames, Unparsed, Verdict
from deeptrace.testing import tiny_model
from deeptrace.video import sample_frames
from tests.clips import make_clip

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from deeptrace.models.hf.families import IGNORED, Encoded, Family, family_of  # noqa: E402
from deeptrace.models.hf.families.qwen25vl import rope_index  # noqa: E402
from deeptrace.models.hf.model import HfModel  # noqa: E402

NAMES = (
    "videollama3", "qwen2.5-vl", "qwen3-vl", "qwen2-vl", "internvl", "llava-onevision", "video-llava", "glm-4.1v",
    "glm-4.5v", "glm-4.6v",
)  # fmt: skip
SQUARE = frozenset({"internvl", "llava-onevision", "video-llava"})
"""Families that make every frame a square of one size."""
GOLDEN = Path(__file__).parents[1] / "golden" / "prompts"
ANSWER = "FAKE. The video is AI-generated. The unnatural part is at [1, 2, 30, 40] starting 0.5 seconds."


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("tiny")
    return {name: tiny_model(name, top / name, hidden_size=64, num_layers=2) for name in NAMES}


@pytest.fixture(scope="module")
def families(folders: dict[str, Path]) -> dict[str, Family]:
    return {name: family_of(folder) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def models(folders: dict[str, Path], families: dict[str, Family]) -> dict[str, Any]:
    return {name: families[name].load_model(folders[name], device="cpu") for name in NAMES}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Clips of 5 and 12 seconds, 24 frames a second, 320 x 180: noise, so that no patch stays as it was."""
    top = tmp_path_factory.mktemp("clips")
    made = {}
    for seconds in (5, 12):
        path = top / f"{seconds}.mp4"
        images = list(noise(24 * seconds, 180, 320).images)
        make_clip(path, num_frames=len(images), images=images, hw=(180, 320), fps=Fraction(24), b_frames=0)
        made[seconds] = path
    return made


def noise(count: int = 6, height: int = 112, width: int = 112, fps: float = 2.0, seed: int = 0) -> Frames:
    images = np.random.default_rng(seed).integers(0, 255, (count, height, width, 3), dtype=np.uint8)
    return Frames.from_array(images, fps)


def written_out(prompt: str, token: str) -> str:
    """The prompt with each run of video tokens as its length."""
    return re.sub(f"(?:{re.escape(token)})+", lambda m: f"{token}*{len(m[0]) // len(token)}", prompt)


def pixel_tokens(family: Family, shown: Encoded) -> int:
    [token] = family.processor.tokenizer.convert_tokens_to_ids([family.pixel_token])
    return int((shown.inputs["input_ids"] == token).sum())


@pytest.mark.parametrize("seconds", [5, 12])
@pytest.mark.parametrize("name", NAMES)
def test_what_a_model_is_shown_is_frozen(
    name: str, seconds: int, folders: dict[str, Path], clips: dict[int, Path], update_golden: bool
) -> None:
    released = type(family_of(folders[name])).released_size
    family = family_of(folders[name], size=None if name in SQUARE else released)  # a square is the checkpoint's own
    sampling = family.sampling
    frames = sample_frames(clips[seconds], fps=sampling.fps, max_frames=sampling.max_frames)
    shown = family.encode(frames, QUESTIONS["trained"])
    spacing = shown.inputs.get("second_per_grid_ts")
    text = (
        f"grid (T, H, W): {shown.size.grid_thw}\n"
        f"resized (H, W): {shown.size.resized_hw}\n"
        f"space: {shown.space}\n"
        f"frames at: {', '.join(f'{time:.3f}' for time in frames.pts_seconds)}\n"
        + (f"seconds per grid step: {spacing.tolist()}\n" if spacing is not None else "")
        + f"\n{written_out(family.text_of(shown), family.pixel_token)}\n"
    )
    path = GOLDEN / f"{name}-{seconds}s.txt"
    if update_golden:
        path.write_text(text)
    assert path.read_text() == text, "run: python -m pytest tests/models/test_families.py --update-golden"


@pytest.mark.parametrize(
    ("name", "count", "hw", "grid", "resized", "tokens"),
    [
        # Measured on the processors themselves, with the released sizes.
        ("videollama3", 10, (720, 1280), (10, 52, 92), (728, 1288), 11960),
        ("videollama3", 10, (1080, 1920), (10, 60, 106), (840, 1484), 15900),
        ("videollama3", 32, (852, 1440), (32, 34, 58), (476, 812), 15776),
        ("qwen2.5-vl", 10, (720, 1280), (5, 40, 72), (560, 1008), 3600),
        ("qwen3-vl", 10, (720, 1280), (5, 40, 72), (640, 1152), 3600),
    ],
)
def test_the_released_resolutions(  # noqa: PLR0917
    name: str, count: int, hw: tuple[int, int], grid: tuple[int, int, int], resized: tuple[int, int], tokens: int,
    folders: dict[str, Path],
) -> None:  # fmt: skip
    family = family_of(folders[name], size=type(family_of(folders[name])).released_size)
    size = family.vision_size(count, *hw)
    assert (size.grid_thw, size.resized_hw, size.tokens) == (grid, resized, tokens)


def test_bounds_of_images_are_not_taken_for_video(tmp_path: Path) -> None:
    """Released Qwen 2.5 VL checkpoints state bounds for images alone, a hundred times those of their video tools."""
    folder = tiny_model("qwen2.5-vl", tmp_path / "m", hidden_size=64, num_layers=1)
    (folder / "processor_config.json").unlink()
    images = {
        "min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
        "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2_5_VLProcessor",
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    family = family_of(folder)
    assert family.size == type(family).released_size
    assert family.vision_size(10, 720, 1280).tokens == 3600
    (folder / "video_preprocessor_config.json").write_text(
        json.dumps({**images, "size": {"shortest_edge": 784, "longest_edge": 78400}})
    )
    assert family_of(folder).size == {"shortest_edge": 784, "longest_edge": 78400}

    def stated(**sizes: Any) -> dict[str, int]:
        (folder / "video_preprocessor_config.json").write_text(json.dumps({**images, **sizes}))
        return family_of(folder).size

    own = {"shortest_edge": 784, "longest_edge": 78400}
    assert stated(size=own, crop_size=224) == own
    assert stated(size={"shortest_edge": 224}, crop_size=224) == {"shortest_edge": 50176, "longest_edge": 50176}
    for sizes, words in (
        ({"size": {"height": True, "width": 224}}, "size.height is True, expected a whole number"),
        ({"crop_size": "224"}, "crop_size.height is '224', expected a whole number"),
        ({"size": {"shortest_edge": 9, "longest_edge": 3}}, "size.shortest_edge is 9, more than longest_edge, 3"),
    ):
        with pytest.raises(ModelError, match=re.escape(f"video_preprocessor_config.json: {words}")):
            stated(**sizes)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8)
@given(count=st.integers(1, 5), height=st.integers(20, 150), width=st.integers(20, 150))
def test_the_size_said_beforehand_is_the_size_it_becomes(
    name: str, families: dict[str, Family], count: int, height: int, width: int
) -> None:
    shown = families[name].encode(noise(count, height, width), "Is it fake?")
    assert shown.size == families[name].vision_size(count, height, width)
    assert pixel_tokens(families[name], shown) == shown.size.tokens


@pytest.mark.parametrize("name", NAMES)
def test_only_the_answer_is_learned(name: str, families: dict[str, Family]) -> None:
    family = families[name]
    asked, told = family.encode(noise(), "Is it fake?"), family.encode(noise(), "Is it fake?", ANSWER)
    assert asked.labels is None
    assert told.labels is not None
    prompt = asked.inputs["input_ids"].shape[1]
    assert torch.equal(told.inputs["input_ids"][:, :prompt], asked.inputs["input_ids"])
    assert (told.labels[:, :prompt] == IGNORED).all()
    learned = told.labels[0, prompt:]
    assert torch.equal(learned, told.inputs["input_ids"][0, prompt:])
    assert family.processor.tokenizer.decode(learned) == f"{ANSWER}{family.chat.end}"
    assert family.decode(learned.tolist()) == ANSWER
    assert {
        tensor.shape[1] for key, tensor in told.inputs.items() if key in ("attention_mask", "mm_token_type_ids")
    } == {len(told.labels[0])}


@pytest.mark.parametrize("name", NAMES)
def test_encoding_works_in_a_worker_process_and_says_the_same_there(name: str, families: dict[str, Family]) -> None:
    here = families[name].encode(noise(), "Is it fake?", ANSWER)
    there = pickle.loads(pickle.dumps(families[name])).encode(noise(), "Is it fake?", ANSWER)  # noqa: S301
    assert families[name].text_of(here) == families[name].text_of(there)
    assert all(torch.equal(here.inputs[key], there.inputs[key]) for key in here.inputs)


@pytest.mark.parametrize("name", NAMES)
def test_greedy_answers_follow_the_logits_of_whole_passes(
    name: str, families: dict[str, Family], models: dict[str, Any]
) -> None:
    """With a cache and without: the positions behind the video are the same, padded or not."""
    family, model = families[name], models[name]
    # Two families take only videos of one length together.
    few = 8 if name in ("llava-onevision", "video-llava") else 3
    long, short = family.encode(noise(8), "What is this thing?"), family.encode(noise(few, seed=1), "Is it?")
    batch = family.collate([long, short], pad_left=True)
    said = model.generate(**batch, max_new_tokens=5, do_sample=False, eos_token_id=None)[:, -5:]
    for row, one in enumerate((long, short)):
        inputs = dict(one.inputs)
        for token in said[row]:
            with torch.inference_mode():
                logits = model(**inputs).logits[0, -1]
            assert int(logits.argmax()) == int(token)
            inputs["input_ids"] = torch.cat([inputs["input_ids"], token.view(1, 1)], dim=1)
            for key in ("attention_mask", "mm_token_type_ids"):
                if key in inputs:
                    new = torch.full((1, 1), int(key == "attention_mask"), dtype=inputs[key].dtype)
                    inputs[key] = torch.cat([inputs[key], new], dim=1)
        alone = family.next_logprobs(model, family.collate([one], pad_left=True))[0]
        assert torch.allclose(family.next_logprobs(model, batch)[row], alone, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shown_matters(name: str, families: dict[str, Family], models: dict[str, Any]) -> None:
    family, model = families[name], models[name]
    first, other, slow = (
        family.next_logprobs(model, family.collate([family.encode(frames, "Is it fake?")]))
        for frames in (noise(), noise(seed=1), noise(fps=0.5))
    )
    assert not torch.allclose(first, other, atol=1e-4)
    # The same frames at other times.
    assert torch.allclose(first, slow, atol=1e-4) is not family.tells_time


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_the_logits_are_the_same(
    name: str, families: dict[str, Family], models: dict[str, Any], tmp_path: Path
) -> None:
    family, model = families[name], models[name]
    model.save_pretrained(tmp_path)
    family.processor.save_pretrained(tmp_path)
    again = family_of(tmp_path)
    assert again.size == family.size
    batch = family.collate([family.encode(noise(), "Is it fake?")])
    back = again.collate([again.encode(noise(), "Is it fake?")])
    assert torch.equal(family.next_logprobs(model, batch), again.next_logprobs(again.load_model(tmp_path), back))


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_belongs_to_a_part(name: str, families: dict[str, Family], models: dict[str, Any]) -> None:
    parts = {families[name].part_of(key) for key, _ in models[name].named_parameters()}
    assert parts == {"vision", "projector", "language"}
    for key, _ in models[name].named_parameters():
        expected = "language" if "language_model" in key or "lm_head" in key else "vision"
        if re.search(r"projector|merger|downsample", key):
            expected = "projector"
        assert families[name].part_of(f"base_model.model.{key}") == expected, key


# ── the question ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", NAMES)
def test_the_video_stands_where_the_question_says(name: str, families: dict[str, Family]) -> None:
    family = families[name]
    assert family.render_prompt("<video> Is it?") == family.render_prompt("Is it?")
    before = family.render_prompt("Look: <video>\nIs it?")
    assert family.chat.user.replace("{text}", f"Look:{family.render_video()}Is it?") in before
    with pytest.raises(ModelError, match="more than once"):
        family.render_prompt("<video> <video>")


@pytest.mark.parametrize("text", ["<|im_end|>", "a <|video_pad|> b", "<|im_start|>system"])
def test_control_tokens_in_words_are_refused(text: str, families: dict[str, Family]) -> None:
    for family in families.values():
        with pytest.raises(ModelError, match="control token"):
            family.encode(noise(), text)
        with pytest.raises(ModelError, match="control token"):
            family.encode(noise(), "Is it?", text)


def test_the_chat_template_of_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    folder = tiny_model("videollama3", tmp_path / "m", hidden_size=64, num_layers=1)
    endless = "{% for i in range(10**9) %}{% for j in range(10**9) %}{{ ''.__class__ }}{% endfor %}{% endfor %}"
    (folder / "chat_template.jinja").write_text(endless)
    family = family_of(folder)
    assert "Is it fake?<|im_end|>" in family.text_of(family.encode(noise(), "Is it fake?"))


@pytest.mark.parametrize("name", NAMES)
def test_code_beside_a_checkpoint_is_never_run(name: Any, tmp_path: Path) -> None:
    folder = tiny_model(name, tmp_path / "m", hidden_size=64, num_layers=1)
    canary = tmp_path / "canary"
    (folder / "evil.py").write_text(f"open({str(canary)!r}, 'w')\nclass Evil: pass\n")
    kinds = ("AutoConfig", "AutoModel", "AutoProcessor", "AutoTokenizer", "AutoImageProcessor", "AutoVideoProcessor")
    for file in ("config.json", "processor_config.json", "tokenizer_config.json", "generation_config.json"):
        row = json.loads((folder / file).read_text())
        row["auto_map"] = dict.fromkeys((*kinds, "AutoModelForImageTextToText"), "evil.Evil")
        (folder / file).write_text(json.dumps(row))
    family = family_of(folder)
    family.generate(
        family.load_model(folder, device="cpu"),
        family.collate([family.encode(noise(2), "Is it?")], pad_left=True),
        max_new_tokens=1,
    )
    assert not canary.exists()


@pytest.mark.parametrize("name", NAMES)
def test_the_card_decides(name: str, folders: dict[str, Path]) -> None:
    card = CheckpointCard(
        space="source",
        system_prompt="Look.",
        sampling=Sampling(4.0, 8),
        size={"shortest_edge": 784, "longest_edge": 784 if name in SQUARE else 9408},
    )
    family = family_of(folders[name], card=card)
    shown = family.encode(noise(4, 112, 160), "Is it?")
    assert shown.space == Space("source", 160, 112)
    assert family.text_of(shown).startswith(family.chat.begin + family.chat.system.replace("{text}", "Look."))
    assert family.sampling == Sampling(4.0, 8)
    assert shown.size.resized_hw[0] < 112
    assert pixel_tokens(family, shown) == shown.size.tokens
    if name in SQUARE:
        with pytest.raises(ModelError, match=r"makes every frame a square of one size.*not 784 and 9408"):
            family_of(folders[name], card=replace(card, size={"shortest_edge": 784, "longest_edge": 9408}))


def test_videos_of_other_lengths_are_asked_one_by_one(folders: dict[str, Path], families: dict[str, Family]) -> None:
    family = families["llava-onevision"]
    with pytest.raises(ModelError, match="videos of 2 and of 5 frames do not fit one batch"):
        family.collate([family.encode(noise(count), "Is it?") for count in (5, 2)])
    model = HfModel(folders["llava-onevision"], device="cpu", batch_size=2, max_new_tokens=2, sampling=Sampling(2.0))
    assert [type(outcome) for outcome in model.inspect([noise(5), noise(2)])] == [Unparsed, Unparsed]


# ── times ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rate", [Fraction(24), Fraction(25), Fraction(30000, 1001)])
def test_frames_a_little_early_are_still_evenly_spaced(rate: Fraction, families: dict[str, Family]) -> None:
    """At 2 a second, frames of a 25 fps clip lie 0.48 and 0.52 s apart; 0.48 would round every second position down."""
    shown = np.floor(np.arange(20) * 0.5 * float(rate) + 1e-6) / float(rate)
    frames = Frames(np.zeros((20, 56, 56, 3), np.uint8), shown.astype(np.float64), (56, 56), 10.0)
    assert families["qwen2.5-vl"].step_seconds(frames) == 0.5
    assert families["qwen2.5-vl"].encode(frames, "Is it?").inputs["second_per_grid_ts"].tolist() == [1.0]


def test_other_spacings_are_told_as_they_are(families: dict[str, Family]) -> None:
    assert families["qwen2.5-vl"].encode(noise(fps=4.0), "Is it?").inputs["second_per_grid_ts"].tolist() == [0.5]
    thin = Frames(np.zeros((4, 56, 56, 3), np.uint8), np.array([0.0, 3.0, 6.0, 9.0]), (56, 56), 12.0)
    assert families["qwen2.5-vl"].step_seconds(thin) == 3.0
    assert families["qwen2.5-vl"].step_seconds(noise(1)) == 0.5


@pytest.mark.parametrize("name", NAMES)
def test_one_frame_is_enough(name: str, families: dict[str, Family]) -> None:
    shown = families[name].encode(noise(1), "Is it?")
    assert shown.size.grid_thw[0] == 1


def test_any_array_will_do(families: dict[str, Family]) -> None:
    frames = noise()
    backwards = Frames(frames.images[::-1, :, ::-1], frames.pts_seconds, frames.source_hw)
    read_only = np.frombuffer(frames.images.tobytes(), np.uint8).reshape(frames.images.shape)
    frozen = Frames(read_only, frames.pts_seconds, frames.source_hw)
    family = families["videollama3"]
    pixels = [family.encode(one, "Is it?").inputs["pixel_values_videos"] for one in (frames, frozen, backwards)]
    assert torch.equal(pixels[0], pixels[1])
    assert not torch.equal(pixels[0], pixels[2])


def test_still_patches_are_left_out(families: dict[str, Family]) -> None:
    still = Frames.from_array(np.full((6, 112, 112, 3), 90, np.uint8), 2.0)
    shown = families["videollama3"].encode(still, "Is it?")
    tokens = int((shown.inputs["input_ids"] == families["videollama3"].processor.video_token_id).sum())
    assert (shown.size.tokens, tokens) == (96, 16 + 5)


# ── positions of Qwen 2.5 VL ────────────────────────────────────────────────────────────────────────────────────────


def positions(count: int, height: int, width: int, *, seconds_per_grid: float = 1.0) -> Any:
    """Positions of two words, a video of that grid of patches, and three words."""
    tokens = count * (height // 2) * (width // 2)
    kinds = torch.tensor([[0, 0, *[2] * tokens, 0, 0, 0]])
    ids = torch.zeros_like(kinds)
    grid = torch.tensor([[count, height, width]])
    spacing = torch.tensor([seconds_per_grid])
    return rope_index(ids, kinds, grid, spacing, None, merge=2, tokens_per_second=2)


@pytest.mark.parametrize(
    ("grid", "behind"),
    [
        # 448 x 784: 28 columns of tokens. 10 frames: the widest row decides; 32 frames over 16 s: the time does.
        ((5, 32, 56), 2 + 28),
        ((16, 32, 56), 2 + 31),
        ((16, 8, 8), 2 + 31),
        ((4, 8, 8), 2 + 7),
    ],
)
def test_text_goes_on_behind_the_largest_position(grid: tuple[int, int, int], behind: int) -> None:
    where, ahead = positions(*grid)
    assert where[:, 0, :2].tolist() == [[0, 1]] * 3
    assert where[:, 0, 2].tolist() == [2, 2, 2]
    assert where[:, 0, -3:].tolist() == [[behind, behind + 1, behind + 2]] * 3
    assert int(ahead) == behind + 3 - where.shape[2]


def test_positions_are_the_librarys_where_the_two_agree(models: dict[str, Any]) -> None:
    """And are not where they do not: the test fails when the library changes, which is then to be looked at."""
    inner = models["qwen2.5-vl"].model
    theirs = type(inner).get_rope_index
    for count, same in ((2, True), (8, False)):
        kinds = torch.tensor([[0, 0, *[2] * count * 16, 0, 0], [0, 0, 0, *[2] * count * 16, 0]])
        given = {
            "input_ids": torch.zeros_like(kinds),
            "mm_token_type_ids": kinds,
            "video_grid_thw": torch.tensor([[count, 8, 8]] * 2),
            "second_per_grid_ts": torch.tensor([1.0, 1.0]),
            "attention_mask": torch.tensor([[1] * kinds.shape[1], [0, *[1] * (kinds.shape[1] - 1)]]),
        }
        ours, theirs_say = inner.get_rope_index(**given), theirs(inner, **given)
        assert torch.equal(ours[1], theirs_say[1]) == same
        assert torch.equal(ours[0], theirs_say[0]) == same


# ── GLM: seconds, ends and reasoning ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rate", [Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001)])
def test_whole_seconds_are_those_of_the_original(rate: Fraction, families: dict[str, Family]) -> None:
    """Its video processor takes the first frame at or after a moment; ours is on screen then, and began before it."""
    from transformers.video_utils import VideoMetadata

    family = families["glm-4.1v"]
    metadata = VideoMetadata(total_num_frames=round(5 * rate), fps=float(rate), duration=5.0)
    original = family.processor.video_processor.sample_frames(metadata)
    shown = np.floor(np.arange(10) * 0.5 * float(rate) + 1e-6) / float(rate)
    frames = Frames(np.zeros((10, 56, 56, 3), np.uint8), shown, (56, 56), 5.0)
    told = re.findall(r"<\|end_of_image\|>(\d+)", family.text_of(family.encode(frames, "Is it?")))
    assert told == [str(int(index / rate)) for index in original[::2]] == ["0", "1", "2", "3", "4"]


def test_times_beside_the_sampling_are_cut_as_they_are(families: dict[str, Family]) -> None:
    frames = Frames(np.zeros((4, 56, 56, 3), np.uint8), np.array([0.3, 0.7, 1.2, 4.6]), (56, 56), 5.0)
    text = families["glm-4.1v"].text_of(families["glm-4.1v"].encode(frames, "Is it?"))
    assert re.findall(r"<\|end_of_image\|>(\d+)", text) == ["0", "1"]


def test_an_answer_ends_at_any_token_that_ends_one(families: dict[str, Family]) -> None:
    family = families["glm-4.1v"]
    for token in ("<|user|>", "<|endoftext|>", "<|observation|>"):
        [end] = family.processor.tokenizer.convert_tokens_to_ids([token])
        assert family.decode([*family.tokenize("REAL"), end, *family.tokenize("FAKE")]) == "REAL"
        assert end in family.end_ids


def test_reasoning_is_told_from_the_answer_where_its_marks_are_special_tokens(tmp_path: Path) -> None:
    folder = tiny_model("glm-4.1v", tmp_path / "m", hidden_size=64, num_layers=1)
    tokenizer = family_of(folder).processor.tokenizer
    tokenizer.add_tokens(["<think>", "</think>", "<|begin_of_box|>", "<|end_of_box|>"], special_tokens=True)
    tokenizer.save_pretrained(folder)
    family = family_of(folder)
    said = "<think>FAKE. So it seems.</think><|begin_of_box|>REAL<|end_of_box|>"
    text = family.decode([*family.tokenize(said), family.end_id])
    assert text == said
    outcome = parse(text, "zero-shot", Space("per-mille"))
    assert isinstance(outcome, Verdict)
    assert outcome.label == "real"


def test_a_dense_glm_with_the_processor_of_4_6v_is_told_tenths(tmp_path: Path) -> None:
    folder = tiny_model("glm-4.1v", tmp_path / "m", hidden_size=64, num_layers=1)
    for file in ("processor_config.json", "tokenizer_config.json"):
        text = (folder / file).read_text()
        for part in ("Processor", "VideoProcessor", "ImageProcessor"):
            text = text.replace(f"Glm4v{part}", f"Glm46V{part}")
        (folder / file).write_text(text)
    family = family_of(folder)
    assert family.sampling == Sampling(6.0, 640)
    assert family.time_text(0.5).endswith("0.5 seconds")
    shown = family.encode(noise(4), "Is it?")
    assert re.findall(r"<\|end_of_image\|>([^<]*)", family.text_of(shown)) == ["0.0 seconds", "1.0 seconds"]
