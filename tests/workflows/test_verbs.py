"""`vitlens ask`, `detect` and `imagine`: what they print, and what is said of mistakes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from tests import tiny_diffusers, tiny_hf
from tests.tiny_models import write_lens
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


def test_imagine_draws_and_retrieves(tmp_path, clouds, monkeypatch):
    monkeypatch.chdir(tmp_path)
    decoder = tiny_diffusers.write_unclip(tmp_path / "unclip")
    lens = write_lens(tmp_path, f"hf:{decoder / 'image_encoder'}")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, pixels in enumerate(tiny_hf.pictures(3)):
        Image.fromarray(pixels.numpy()).save(pictures / f"{number}.png")
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
