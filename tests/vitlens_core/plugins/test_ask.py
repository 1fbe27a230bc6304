"""Question models on randomised tiny weights in the published format."""

import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import vitlens_core
from tests import tiny_hf
from tests.tiny_models import LENS, TOKENIZER, tower_settings
from vitlens_core.checkpoint import encode_lens
from vitlens_core.errors import CheckpointError, ConfigError, InputError
from vitlens_core.foundation import load_foundation
from vitlens_core.foundation.base import Foundation
from vitlens_core.models.tower import build_tower
from vitlens_core.plugins.ask import ADAPTERS, open_question_model
from vitlens_core.plugins.ask.base import QuestionModel, TowerModel

KINDS = sorted(ADAPTERS)
QUESTIONS = ["what is it?", "a lamp, or a chair? what is it used for?"]
Folder = Callable[[str], Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return cache(lambda kind: tiny_hf.write(kind, tmp_path_factory.mktemp("ask") / kind))


@pytest.fixture(scope="module")
def foundation(folder: Folder) -> Callable[[str], Foundation]:
    return cache(lambda kind: load_foundation(f"hf:{folder(kind)}#vision"))


@pytest.fixture(scope="module")
def asked(folder: Folder) -> Callable[[str], QuestionModel]:
    return cache(lambda kind: open_question_model(folder(kind)))


@pytest.fixture(scope="module")
def lens(
    tmp_path_factory: pytest.TempPathFactory, folder: Folder, foundation: Any
) -> Callable[..., Path]:
    @cache
    def write(kind: str, latents: int = 16, of: str = "") -> Path:
        settings = tower_settings(lens=LENS | {"latents": latents}, tokenizer=TOKENIZER)
        base = foundation(of or kind)
        torch.manual_seed(latents)
        tower = tiny_hf.randomised(build_tower(settings, base.trunk))
        # Its random weights are those of the lens only: the trunk stays the foundation's.
        tower.trunk.load_state_dict(build_tower(settings, base.trunk).trunk.state_dict())
        path = tmp_path_factory.mktemp("lens") / "lens.safetensors"
        data = encode_lens(tower.trained_state(), settings, base.spec, base.digest())
        path.write_bytes(data)
        return path

    return write


def _clouds(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [
        np.concatenate([rng.normal(size=(50, 3)), np.full((50, 3), index % 2)], 1).astype("f4")
        for index in range(count)
    ]


def _images(foundation: Foundation, count: int = 2) -> torch.Tensor:
    times = foundation.image_size_px // 16
    return tiny_hf.pictures(count).repeat(1, times, times, 1)


def _states(by: TowerModel, foundation: Foundation, images: torch.Tensor) -> torch.Tensor:
    tokens = foundation.image_tokens(foundation.preprocess(images))
    return torch.stack(foundation.trunk.states([tokens], by.taps), dim=1)


def _own_pixels(kind: str, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Pixels as the unmodified model takes them."""
    if not kind.startswith("qwen"):
        return {"pixel_values": pixels}
    cutter = transformers.Qwen2VLImageProcessor(
        patch_size=4, do_resize=False, do_rescale=False, do_normalize=False, merge_size=2
    )
    cut = cutter(list(pixels), return_tensors="pt")
    return {"pixel_values": cut["pixel_values"].float(), "image_grid_thw": cut["image_grid_thw"]}


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_its_own_patches_as_lens_tokens_give_the_logits_of_the_pixel_path(
    kind, folder, foundation, asked
):
    by, base = asked(kind), foundation(kind)
    images = _images(base)
    inputs = by.inputs([_states(by, base, images)], QUESTIONS, by.fusions[0])
    found = by.model(**inputs).logits
    published = type(by.model).from_pretrained(folder(kind)).eval()
    own = inputs | _own_pixels(kind, base.preprocess(images))
    # fp32: the order of sums differs.
    torch.testing.assert_close(published(**own).logits, found, rtol=1e-3, atol=1e-4)
    other = own | _own_pixels(kind, base.preprocess(images.flip(0)))
    assert (published(**other).logits - found).abs().max() > 0.01, "pixels must matter"


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_another_signal_changes_the_answer(kind, lens, asked):
    by, model = asked(kind), vitlens_core.load(lens(kind))
    one, other = _clouds(2)
    states = [model.token_source("point_cloud").states(model.stored("point_cloud", c), by.taps)
              for c in (one, other, one)]  # fmt: skip
    logits = [by.model(**by.inputs([s], QUESTIONS[:1], by.fusions[0])).logits for s in states]
    assert torch.equal(logits[0], logits[2])
    assert (logits[0] - logits[1]).abs().max() > 1e-4
    said = model.ask(one, QUESTIONS[0], by=by, max_new_tokens=4)
    assert len(said) == 1
    assert said[0].by == by.source
    assert said[0].probability is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_answers_as_its_questions_one_by_one(kind, lens, asked):
    by, model = asked(kind), vitlens_core.load(lens(kind))
    clouds = _clouds(2)
    together = model.ask(clouds, QUESTIONS, by=by, max_new_tokens=6)
    apart = [
        model.ask({"point_cloud": [cloud]}, question, by=by, max_new_tokens=6)[0]
        for cloud, question in zip(clouds, QUESTIONS, strict=True)
    ]
    assert together == apart
    streamed = "".join(model.stream(clouds[0], QUESTIONS[0], by=by, max_new_tokens=6))
    assert streamed.strip() == together[0].text


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_an_image_and_a_signal_meet_where_the_model_can_take_them(kind, lens, asked):
    by, model = asked(kind), vitlens_core.load(lens(kind))
    size = model.preparation("image").side_px or 16
    picture = Image.fromarray(np.asarray(tiny_hf.pictures(1)[0])).resize((size, size))
    cloud = _clouds(1)[0]
    alone = by.fusions[0]
    # Qwen's rotary positions are those of one square image.
    one_image = kind.startswith("qwen")
    if one_image:
        with pytest.raises(ConfigError, match="cannot fuse at 'vit'; choose language"):
            model.ask({"image": picture}, "what is it?", by=by, fusion="vit")
    for fusion in by.fusions if one_image else ("vit", *by.fusions):
        both = model.ask(
            {"image": picture, "point_cloud": cloud}, "what is it?", by=by, fusion=fusion,
            max_new_tokens=3,
        )  # fmt: skip
        assert len(both) == 1
    source = model.token_source("image")
    of_image = source.states(model.stored("image", picture), by.taps)
    of_cloud = model.token_source("point_cloud").states(model.stored("point_cloud", cloud), by.taps)
    first = by.model(**by.inputs([of_image], QUESTIONS[:1], alone)).logits[:, -1]
    joint = by.model(**by.inputs([of_image, of_cloud], QUESTIONS[:1], alone)).logits[:, -1]
    assert (first - joint).abs().max() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_a_lens_of_another_trunk_is_refused(kind, lens, asked, tmp_path_factory):
    other = tiny_hf.write(kind, tmp_path_factory.mktemp("other") / kind, seed=1)
    model = vitlens_core.load(lens(kind))
    with pytest.raises(CheckpointError, match=r"another vision tower than that of .*: train it"):
        model.ask(_clouds(1), "what is it?", by=open_question_model(other))


def test_a_lens_of_another_family_is_refused(lens, asked):
    model = vitlens_core.load(lens("blip-2"))
    with pytest.raises(CheckpointError, match="another vision tower"):
        model.ask(_clouds(1), "what is it?", by=asked("llava"))


def test_clip_of_its_own_fits_llava_that_has_the_same_weights(folder, asked, tmp_path):
    """LLaVA's tower is CLIP's: a lens trained into CLIP answers there."""
    config = transformers.CLIPVisionConfig(**tiny_hf.VISION, projection_dim=10)
    own = transformers.CLIPVisionModelWithProjection(config)
    published = transformers.LlavaForConditionalGeneration.from_pretrained(folder("llava"))
    own.vision_model.load_state_dict(published.model.vision_tower.vision_model.state_dict())
    own.save_pretrained(tmp_path)
    pixels = (folder("llava") / "preprocessor_config.json").read_text()
    (tmp_path / "preprocessor_config.json").write_text(pixels)
    asked("llava").check(load_foundation(f"hf:{tmp_path}").trunk, "a lens")


def test_a_model_of_text_alone_is_refused(tmp_path):
    config = transformers.LlamaConfig(**tiny_hf.LANGUAGE, vocab_size=10)
    config.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="model of text alone has no image encoder"):
        open_question_model(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mark", tiny_hf.SPECIAL)
def test_a_mark_of_the_tokenizer_in_a_question_is_refused(mark, kind, lens, asked):
    """`<image>` stands for tokens that are not there, and the others end a text or a turn."""
    model = vitlens_core.load(lens(kind))
    with pytest.raises(InputError, match=f"found {re.escape(mark)}, a mark"):
        model.ask(_clouds(1), f"what {mark} is it?", by=asked(kind))
    with pytest.raises(InputError, match=f"found {re.escape(mark)}, a mark"):
        next(model.stream(_clouds(1)[0], f"what {mark} is it?", by=asked(kind)))


def test_text_gives_no_tokens(lens, asked, foundation, folder):
    model = vitlens_core.load(foundation=f"hf:{folder('llava')}")
    assert "text" not in model.modalities
    with pytest.raises(ConfigError, match="video gives no tokens"):
        model.ask({"video": np.zeros((2, 16, 16, 3), np.uint8)}, "what?", by=asked("llava"))


def test_as_many_inputs_of_every_modality_are_needed(lens, asked):
    model = vitlens_core.load(lens("llava"))
    images = [np.zeros((16, 16, 3), np.uint8)] * 2
    with pytest.raises(InputError, match="as many inputs of every modality"):
        model.ask({"image": images, "point_cloud": _clouds(1)}, "what?", by=asked("llava"))
    with pytest.raises(ConfigError, match="cannot fuse at 'former'"):
        model.ask(_clouds(1), "what?", by=asked("llava"), fusion="former")


def test_without_a_question_model_the_nearest_answer_is_given_with_its_probability(tiny_open_clip):
    model = vitlens_core.load(foundation=tiny_open_clip)
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    answers = ["a chair", "a lamp", "a car"]
    said = model.ask({"image": picture}, "what is it?", answers=answers)[0]
    assert said.by == "zero-shot"
    assert said.text in answers
    assert said.probability is not None
    assert 1 / 3 <= said.probability <= 1
    with pytest.raises(ConfigError, match="no question model is given: name one"):
        model.ask({"image": picture}, "what is it?")


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_do_not_fit_are_refused(kind, tmp_path):
    from safetensors.torch import load_file, save_file

    path = tiny_hf.write(kind, tmp_path / kind) / "model.safetensors"
    weights = load_file(path)
    weights.pop(next(name for name in sorted(weights) if "layers.0" in name or "blocks.0" in name))
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match="do not fit its config"):
        open_question_model(path.parent)


WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("transformers", "diffusers"):
            raise ModuleNotFoundError(f"{name} is not installed", name=name)

sys.meta_path.insert(0, Absent())
import vitlens_core
from vitlens_core.errors import ConfigError
from vitlens_core.plugins.ask import open_question_model
vitlens_core.Model
for use in (open_question_model, lambda source: vitlens_core.load(foundation=f"hf:{source}")):
    try:
        use(sys.argv[1])
    except ConfigError as error:
        print(error)
"""


def test_without_the_extra_a_sentence_says_what_to_install(folder):
    run = [sys.executable, "-c", WITHOUT, str(folder("llava"))]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("needs transformers: pip install 'vitlens[ask]'" in line for line in lines)


def test_the_package_imports_without_transformers():
    code = "import sys, vitlens_core; vitlens_core.Model; print('transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
