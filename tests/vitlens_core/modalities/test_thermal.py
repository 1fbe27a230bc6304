"""Thermal: counts, ranges, and what the tower sees."""

import numpy as np
import torch
from PIL import Image

from tests.contracts.examples import PATCHES, SQUARE, Example, between_0_and_1
from tests.contracts.malformed import COUNTS, MAP, PICTURE_FILES, RGB, file_of_picture, with_one
from vitlens_core.modalities import thermal

EXAMPLE = Example(
    raw=between_0_and_1(20, 30),
    refused=(np.full((20, 30), 37.0), np.ones((20, 30, 3)), np.full((20, 30), -0.5)),
    signal=SQUARE,
    tokenizer=PATCHES,
    lens={"kind": "identity"},
    malformed=(
        *PICTURE_FILES,
        ("16 bit without range", file_of_picture("a.png", COUNTS), "coldest and hottest"),
        (
            "range upside down",
            file_of_picture("a.png", COUNTS, coldest=9, hottest=1),
            "coldest=9",
        ),
        ("false colours", file_of_picture("a.png", RGB), "found mode RGB"),
        ("degrees", MAP * 40, r"in 0\.\.1, found"),
        ("infinite", with_one(np.inf, MAP), "NaN or infinite"),
    ),
)


def test_thermal_counts_are_scaled_by_the_stated_range(tmp_path):
    Image.fromarray(np.array([[0, 1000], [2000, 4000]], np.uint16)).save(tmp_path / "a.png")
    np.testing.assert_allclose(
        thermal.MODALITY.read(tmp_path / "a.png", coldest=1000, hottest=3000), [[0, 0], [0.5, 1]]
    )
    Image.fromarray(np.array([[0, 51], [102, 255]], np.uint8)).save(tmp_path / "b.png")
    np.testing.assert_allclose(
        thermal.MODALITY.read(tmp_path / "b.png"), [[0, 0.2], [0.4, 1]], rtol=1e-6
    )


def test_thermal_brightness_is_seen_from_minus_1_to_1():
    signal = thermal.ThermalSignal(side_px=14)
    seen = thermal.ThermalTokenizer().prepare(torch.full((1, 14, 14), 0.75), signal)
    torch.testing.assert_close(seen, torch.full((1, 1, 14, 14), 0.5))
