"""`vitlens ask`, `detect` and `imagine`: what they print, and what is said of mistakes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from tests import tiny_diffusers, tiny_hf
from tests.contracts.examples import tower_settings as of_modality
from tests.tiny_models import write_lens
from workflows import given
from workflows.cli import main
from workflows.exit_codes import FAILED, MISTAKE


def vitlens(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture
def clouds(tmp_path: Path) -> list[Path]:
    paths = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        cloud = np.concatenate([rng.normal(size=(50, 3)), rng.random((50, 3))], 1)
        paths.append(tmp_path / f"cloud{seed}.npy")
        np.save(paths[-1], cloud.astype(np.float32))
    return paths


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "scene.png"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, pixels in enumerate(tiny_hf.pictures(3)):
        Image.fromarray(pixels.numpy()).save(folder / f"{number}.png")
    return folder


def test_ask_with_and_without_a_question_model(tmp_path, clouds, tiny_open_clip):
    folder = tiny_hf.write("llava", tmp_path / "llava")
    lens = write_lens(tmp_path, f"hf:{folder}")
    named = [f"point_cloud={cloud}" for cloud in clouds]
    said = vitlens("ask", lens, *named, "what is it?", "--by", folder, "--max-tokens", 3)
    assert said.exit_code == 0, said.output
    assert said.output.count("llava") == 2
    said = vitlens("ask", write_lens(tmp_path, tiny_open_clip), named[0], "what is it?",
                   "--answer", "a chair", "--answer", "a lamp")  # fmt: skip
    assert said.exit_code == 0, said.output
    assert "zero-shot, no question model; probability 0." in said.output


def test_ask_says_what_is_missing(tmp_path, clouds, tiny_open_clip):
    lens = write_lens(tmp_path, tiny_open_clip)
    said = vitlens("ask", lens, f"point_cloud={clouds[0]}", "what is it?")
    assert said.exit_code == MISTAKE
    assert "no question model is given" in said.output
    assert "found 'what?' alone" in vitlens("ask", lens, "what?").output
    assert "no file gone.ply" in vitlens("ask", lens, "gone.ply", "what?").output
    other = tiny_hf.write("llava", tmp_path / "llava")
    said = vitlens("ask", lens, f"point_cloud={clouds[0]}", "what?", "--by", other)
    assert said.exit_code == FAILED
    assert "another vision tower" in said.output


def test_detect_by_a_cloud_and_by_words(tmp_path, clouds, picture):
    folder = tiny_hf.write("owlvit", tmp_path / "owl")
    lens = write_lens(tmp_path, f"hf:{folder}")
    out = tmp_path / "boxes.png"
    queries = ["--query", f"point_cloud={clouds[0]}", "--query", "a lamp"]
    for by in ([], ["--by", folder, "--least", 0]):
        found = vitlens("detect", lens, picture, *queries, *by, "--out", out, "--json")
        assert found.exit_code == 0, found.output
        rows = json.loads(found.output.partition("\n")[0])
        assert rows
        assert {row["query"] for row in rows} <= {"cloud0.npy", "a lamp"}
        assert Image.open(out).size == (60, 40)
        out.unlink()
    assert "expected a picture" in vitlens("detect", lens, picture).output


def test_imagine_draws_and_retrieves(tmp_path, clouds, pictures, monkeypatch):
    monkeypatch.chdir(tmp_path)
    decoder = tiny_diffusers.write_unclip(tmp_path / "unclip")
    lens = write_lens(tmp_path, f"hf:{decoder / 'image_encoder'}")
    asked = ["imagine", lens, f"point_cloud={clouds[0]}", "--with", f"{pictures / '1.png'}:0.5"]
    found = vitlens(*asked, "--among", pictures)
    assert found.exit_code == 0, found.output
    assert found.output.count(".png") == 3
    assert not Path("imagined.png").exists()
    side_by_side = vitlens(*asked, "--among", pictures, "--out", "found.png")
    assert side_by_side.exit_code == 0, side_by_side.output
    assert Image.open("found.png").size == (3 * 192 + 2 * 8, 192 + 22)
    best = re.search(r"\d\.png", found.output)
    assert best is not None
    nearest = Image.open(pictures / best[0]).convert("RGB")
    square = np.asarray(nearest.resize((192, 192), Image.Resampling.BICUBIC))
    shown = np.asarray(Image.open("found.png"))[:192, :192]
    np.testing.assert_array_equal(shown, square, "the nearest is the first")
    drawn = vitlens(*asked, "--by", decoder, "--among", pictures, "--steps", 1, "--out", "x.png")
    assert drawn.exit_code == 0, drawn.output
    assert Image.open("x.png").size[0] > 0
    assert Path("image_statistics.safetensors").is_file()
    assert "name a folder of pictures to search" in vitlens(*asked).output
    assert "expected FILE or FILE:WEIGHT" in vitlens(*asked[:3], "--with", "a.png:much").output


@pytest.fixture
def motion(tmp_path: Path) -> str:
    """A recording of a second modality, as the commands take it."""
    signal = of_modality("imu").signal_config.example()
    np.save(tmp_path / "motion.npy", signal)
    return f"imu={tmp_path / 'motion.npy'}"


def two_lenses(folder: Path, spec: str) -> list[object]:
    """The arguments that name a lens of point clouds and one of motion."""
    other = write_lens(folder / "imu", spec, of_modality("imu"))
    return [write_lens(folder / "clouds", spec), "--lens", other]


def test_ask_about_signals_of_two_lenses(tmp_path, clouds, motion):
    folder = tiny_hf.write("llava", tmp_path / "llava")
    first, *further = two_lenses(tmp_path, f"hf:{folder}")
    asked = [first, f"point_cloud={clouds[0]}", motion, "what is it?", *further]
    said = vitlens("ask", *asked, "--by", folder, "--max-tokens", 3)
    assert said.exit_code == 0, said.output
    assert said.output.count("llava") == 2
    alone = vitlens("ask", first, motion, "what is it?", "--by", folder)
    assert alone.exit_code == MISTAKE
    assert "'imu' is not loaded" in alone.output


def test_detect_by_queries_of_two_lenses(tmp_path, clouds, motion, picture):
    folder = tiny_hf.write("owlvit", tmp_path / "owl")
    first, *further = two_lenses(tmp_path, f"hf:{folder}")
    queries = ["--query", motion, "--query", f"point_cloud={clouds[0]}", "--query", "a lamp"]
    asked = ["detect", first, picture, *further, *queries, "--json"]
    for by in ([], ["--by", folder, "--least", 0]):
        found = vitlens(*asked, *by)
        assert found.exit_code == 0, found.output
        rows = json.loads(found.output.partition("\n")[0])
        assert rows
        assert {row["query"] for row in rows} <= {"motion.npy", "cloud0.npy", "a lamp"}
    alone = vitlens("detect", first, picture, *queries)
    assert "'imu' is not loaded" in alone.output
    measured = vitlens("detect", first, *further, "--scenes", 2)
    assert measured.exit_code == MISTAKE
    assert "leave out --lens" in measured.output


def test_imagine_adds_signals_of_two_lenses(tmp_path, clouds, motion, pictures):
    spec = f"hf:{tiny_hf.write('owlvit', tmp_path / 'owl')}"
    first, *further = two_lenses(tmp_path, spec)
    asked = [f"point_cloud={clouds[0]}", "--with", f"{motion}:0.5", "--among", pictures]
    found = vitlens("imagine", first, *asked, *further)
    assert found.exit_code == 0, found.output
    by_foundation = vitlens("imagine", spec, "--lens", first, *asked, *further)
    assert by_foundation.output == found.output
    only = vitlens("imagine", first, *asked[:1], *asked[3:])
    assert only.output != found.output, "the second signal counts"


def test_lenses_of_two_foundations_are_refused(tmp_path, clouds, motion, tiny_open_clip):
    first, *_ = two_lenses(tmp_path, f"hf:{tiny_hf.write('owlvit', tmp_path / 'owl')}")
    stranger = write_lens(tmp_path / "stranger", tiny_open_clip, of_modality("imu"))
    said = vitlens("ask", first, motion, "what?", "--answer", "a chair", "--lens", stranger)
    assert said.exit_code == FAILED
    assert "foundation" in said.output
    twice = vitlens("ask", first, f"point_cloud={clouds[0]}", "what?", "--lens", first)
    assert twice.exit_code == MISTAKE
    assert "two lenses for point_cloud" in twice.output


def test_classes_are_those_of_the_lens_that_is_asked(tmp_path, monkeypatch, tiny_open_clip):
    lenses = {
        f"models:/vitlens-{name}/1": write_lens(tmp_path / name, tiny_open_clip, of_modality(name))
        for name in ("point_cloud", "imu")
    }
    classes = {name: (f"of {name}",) for name in lenses}
    monkeypatch.setattr(given, "locate", lenses.__getitem__)
    found = lambda name, home: SimpleNamespace(classes=classes[name])  # noqa: E731
    monkeypatch.setattr(given.models, "find", found)
    clouds, motion = lenses
    named = given.Named(clouds, (motion,))
    assert named.known_classes({"imu"}) == classes[motion]
    assert named.known_classes({"point_cloud"}) == classes[clouds]
    assert named.known_classes({"text"}) == (*classes[clouds], *classes[motion])
    assert given.Named("lens.safetensors").known_classes({"imu"}) == ()


def test_imagine_moves_a_modality_by_the_mean_of_its_signals(
    tmp_path, clouds, pictures, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    decoder = tiny_diffusers.write_unclip(tmp_path / "unclip")
    lens = write_lens(tmp_path, f"hf:{decoder / 'image_encoder'}")
    folder = tmp_path / "signals"
    folder.mkdir()
    for cloud in clouds:
        cloud.rename(folder / cloud.name)
    cloud = f"point_cloud={folder / clouds[0].name}"
    asked = ["imagine", lens, cloud, "--by", decoder, "--among", pictures, "--steps", 1]

    plain = vitlens(*asked, "--out", "plain.png")
    assert plain.exit_code == 0, plain.output
    assert "point_cloud: no mean is known" in plain.output
    measured = ["--signals", f"point_cloud={folder}", "--out", "moved.png"]
    kept = vitlens(*asked, *measured)
    assert kept.exit_code == MISTAKE
    assert "has no mean of point_cloud: remove it" in kept.output
    Path("image_statistics.safetensors").unlink()
    moved = vitlens(*asked, *measured)
    assert moved.exit_code == 0, moved.output
    assert "no mean is known" not in moved.output
    one, other = (np.asarray(Image.open(f"{name}.png")) for name in ("plain", "moved"))
    assert not np.array_equal(one, other), "another embedding is drawn"

    Path("image_statistics.safetensors").unlink()
    (folder / clouds[1].name).unlink()
    alone = vitlens(*asked, *measured)
    assert "point_cloud: a mean needs two or more, found 1" in alone.output
    assert "no folder gone" in vitlens(*asked, "--signals", "gone").output
