"""Pictures: the same content in every type, layout and container is read alike."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from vitlens_core.errors import InputError
from vitlens_core.modalities import depth, thermal
from vitlens_core.readers.pictures import read_counts, read_rgb

RNG = np.random.default_rng(0)
RAMP = np.linspace(0, 255, 64 * 64).reshape(64, 64).round().astype(np.uint8)
GREY = RAMP[..., None].repeat(3, axis=2)


def _png(chunks: dict[str, Any], picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **chunks)
    return buffer.getvalue()


def _pictures() -> dict[str, bytes]:
    """A grey ramp in every mode that a format allows."""
    made = {}
    modes: dict[str, Image.Image] = {
        "L": Image.fromarray(RAMP),
        "RGB": Image.fromarray(GREY),
        "RGBA": Image.fromarray(GREY).convert("RGBA"),
        "LA": Image.fromarray(RAMP).convert("LA"),
        "P": Image.fromarray(RAMP).convert("P", palette=Image.Palette.ADAPTIVE),
        "16 bit": Image.fromarray(RAMP.astype(np.uint16) * 257),
        "float": Image.fromarray(RAMP.astype(np.float32) / 255),
        "CMYK": Image.fromarray(GREY).convert("CMYK"),
    }
    kinds = {
        "PNG": ("L", "RGB", "RGBA", "LA", "P", "16 bit"),
        "TIFF": tuple(modes),
        "BMP": ("L", "RGB", "RGBA", "P"),
        "GIF": ("L", "P"),
        "WEBP": ("RGB", "RGBA"),
        "PPM": ("L", "RGB", "16 bit"),
        "JPEG": ("L", "RGB", "CMYK"),
        "JPEG2000": ("L", "RGB", "RGBA"),
        "AVIF": ("RGB", "RGBA"),
    }
    for kind, able in kinds.items():
        for mode in able:
            buffer = io.BytesIO()
            lossless: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {"quality": 95}
            modes[mode].save(buffer, kind, **(lossless if kind in ("WEBP", "JPEG", "AVIF") else {}))
            made[f"{kind} {mode}"] = buffer.getvalue()
    return made


PICTURES = _pictures()


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_the_same_in_every_mode_and_format(tmp_path: Path, name: str) -> None:
    """8 and 16 bit, floats, palettes; under an ending that is another's, or none."""
    lossy = name.split()[0] in ("JPEG", "AVIF") or name == "TIFF CMYK"
    for ending in (".png", ".JFIF", ""):
        path = tmp_path / f"a{ending}"
        path.write_bytes(PICTURES[name])
        difference = np.abs(read_rgb(path).astype(int) - GREY)
        assert difference.max() <= (6 if lossy else 1), name


@pytest.mark.parametrize(
    "values",
    [
        RAMP.astype(np.int32) * 2**23,
        RAMP.astype(np.int32),
        RAMP.astype(np.float32),
        RAMP.astype(np.float32) - 10,
    ],
    ids=["32 bit", "8 bit in 32", "float to 255", "negative"],
)
def test_numbers_whose_white_is_not_known_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    Image.fromarray(values).save(tmp_path / "a.tiff")
    with pytest.raises(InputError, match="whose white is not known; scale them"):
        read_rgb(tmp_path / "a.tiff")


def test_all_turns_of_a_camera_give_the_upright_picture(tmp_path: Path) -> None:
    upright = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }
    for number, pixels in stored.items():
        for ending in ("png", "tiff"):
            picture = Image.fromarray(np.ascontiguousarray(pixels))
            exif = picture.getexif()
            exif[0x0112] = number
            path = tmp_path / f"{number}.{ending}"
            picture.save(path, exif=exif)
            np.testing.assert_array_equal(read_rgb(path), upright, err_msg=path.name)


def test_linear_light_in_a_png_is_brought_to_srgb(tmp_path: Path) -> None:
    linear = (255 * (RAMP / 255) ** 2.2).round().astype(np.uint8)
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", (100_000).to_bytes(4, "big"))
    (tmp_path / "a.png").write_bytes(_png({"pnginfo": info}, Image.fromarray(linear)))
    bright = RAMP > 60  # 8 bit of linear light hold few dark levels
    assert np.abs(read_rgb(tmp_path / "a.png").astype(int) - GREY)[bright].max() <= 3


def test_measurements_are_the_same_in_every_one_channel_picture(tmp_path: Path) -> None:
    counts = RNG.integers(300, 9000, (20, 30)).astype(np.uint16)
    for name, values in {
        "a.png": counts,
        "b.tiff": counts,
        "c.tiff": counts.astype(np.int32),
    }.items():
        Image.fromarray(values).save(tmp_path / name)
        np.testing.assert_array_equal(read_counts(tmp_path / name), counts, err_msg=name)
    np.save(tmp_path / "d.npy", counts / 1000)
    Image.fromarray((counts / 1000).astype(np.float32)).save(tmp_path / "e.tiff")
    camera = {"focal_px": 500.0, "baseline_m": 0.075}
    expected = depth.MODALITY.read(tmp_path / "d.npy", unit="m", **camera)
    for name, unit in (("a.png", "mm"), ("b.tiff", "mm"), ("c.tiff", "mm"), ("e.tiff", "m")):
        found = depth.MODALITY.read(tmp_path / name, unit=unit, **camera)
        np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_grey_is_one_channel_however_many_store_it(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(RAMP if mode != "P" else RAMP // 2).convert(mode)
    picture.save(tmp_path / "a.png")
    expected = RAMP if mode != "P" else RAMP // 2
    np.testing.assert_allclose(
        thermal.MODALITY.read(tmp_path / "a.png"), expected / 255, atol=1.01 / 255
    )


def test_a_colour_map_and_halved_16_bit_colours_are_no_measurements(tmp_path: Path) -> None:
    Image.fromarray(RNG.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(tmp_path / "map.png")
    for path in (tmp_path / "map.png",):
        with pytest.raises(InputError, match="colour map cannot be turned back"):
            read_counts(path)
