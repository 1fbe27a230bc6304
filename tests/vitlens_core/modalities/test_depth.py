"""Depth: units, the SUN RGB-D decoding, and what the tower sees."""

from types import SimpleNamespace

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from tests.contracts.examples import PATCHES, SQUARE, Example, between_0_and_1
from tests.contracts.malformed import COUNTS, MAP, RGB, file_of_array, file_of_picture, with_one
from vitlens_core.modalities import depth

CAMERA = {"focal_px": 570.0, "baseline_m": depth.BASELINES_M["kv1"]}
DEPTH_MM = np.array([[0, 500, 1000], [2000, 4000, 8000]], np.uint16)
DISPARITY_PX = np.array([[0, 85.5, 42.75], [21.375, 10.6875, 5.34375]])

EXAMPLE = Example(
    raw=between_0_and_1(20, 30),
    refused=(np.full((20, 30), -1.0), np.ones((20, 30, 1)), np.ones((0, 30))),
    signal=SQUARE,
    tokenizer=PATCHES,
    lens={"kind": "identity"},
    malformed=(
        ("no unit", file_of_picture("a.png", COUNTS), "state one of mm, sun_rgbd"),
        (
            "no camera",
            file_of_picture("a.png", COUNTS, unit="mm"),
            "focal_px above 0, found None",
        ),
        (
            "no baseline",
            file_of_picture("a.png", COUNTS, unit="mm", focal_px=500.0),
            "baseline_m above",
        ),
        ("colours", file_of_picture("a.png", RGB, unit="mm", **CAMERA), "found mode RGB"),
        (
            "8-bit SUN RGB-D",
            file_of_picture("a.png", COUNTS.astype(np.uint8), unit="sun_rgbd", **CAMERA),
            "found 8 bit",
        ),
        (
            "metres in a picture",
            file_of_picture("a.png", COUNTS, unit="m", **CAMERA),
            "cannot hold unit 'm'",
        ),
        ("negative depth", file_of_array("a.npy", -MAP, unit="m", **CAMERA), "0 and above"),
        ("negative disparity", -MAP, "disparities of 0 and above"),
        ("NaN", with_one(np.nan, MAP), "NaN or infinite"),
        ("three axes", MAP[None], r"\[H, W\], found \[1, 32, 40\]"),
    ),
)


def test_millimetres_become_disparity_and_nothing_stays_nothing(tmp_path):
    Image.fromarray(DEPTH_MM).save(tmp_path / "a.png")
    np.testing.assert_allclose(
        depth.MODALITY.read(tmp_path / "a.png", unit="mm", **CAMERA), DISPARITY_PX, rtol=1e-6
    )


def test_sun_rgbd_pngs_hold_rotated_bits(tmp_path):
    rotated = (DEPTH_MM << 3) | (DEPTH_MM >> 13)
    Image.fromarray(rotated).save(tmp_path / "a.png")
    np.testing.assert_allclose(
        depth.MODALITY.read(tmp_path / "a.png", unit="sun_rgbd", **CAMERA), DISPARITY_PX, rtol=1e-6
    )


@given(arrays.arrays(np.uint16, (3, 4)))
def test_decoded_sun_rgbd_is_the_rotated_count_capped_at_8_m(counts):
    expected = [[int(f"{c:016b}"[-3:] + f"{c:016b}"[:-3], 2) / 1000 for c in row] for row in counts]
    np.testing.assert_allclose(depth.decode_sun_rgbd(counts), np.minimum(expected, 8))


@given(st.floats(0.1, 50))
def test_metres_and_millimetres_agree(metres):
    flat = np.full((2, 2), metres)
    expected = CAMERA["focal_px"] * CAMERA["baseline_m"] / metres
    np.testing.assert_allclose(depth.disparity(flat, **CAMERA), expected, rtol=1e-6)


def test_arrays_state_their_unit(tmp_path):
    np.save(tmp_path / "a.npy", DISPARITY_PX)
    np.testing.assert_array_equal(depth.MODALITY.read(tmp_path / "a.npy"), DISPARITY_PX)
    np.save(tmp_path / "b.npy", DEPTH_MM / 1000)
    np.testing.assert_allclose(
        depth.MODALITY.read(tmp_path / "b.npy", unit="m", **CAMERA), DISPARITY_PX, rtol=1e-6
    )


def test_the_tower_sees_clipped_and_normalised_disparity():
    signal = depth.DepthSignal(side_px=14)
    levels = torch.tensor([0.0, 0.01, 30.0, 75.0, 900.0])
    seen = depth.DepthTokenizer().prepare(levels[:, None, None].expand(-1, 14, 14), signal)
    expected = (torch.tensor([0.01, 0.01, 30.0, 75.0, 75.0]) / 75 - 0.0418) / 0.0295
    assert seen.shape == (5, 1, 14, 14)
    torch.testing.assert_close(seen[:, 0, 0, 0], expected)


def test_the_middle_square_is_kept():
    raw = np.zeros((28, 56), np.float32)
    raw[:, 14:42] = 7.0
    np.testing.assert_allclose(depth.DepthSignal(side_px=14).store(raw), 7.0, atol=1e-5)


def test_one_place_far_beyond_the_range_leaves_the_others_alone():
    raw = np.ones((28, 28), np.float32)
    raw[3, 3] = 1e30
    stored = depth.DepthSignal(side_px=14).store(raw)
    assert stored.max() <= 75
    np.testing.assert_allclose(stored[4:, 4:], 1)


def test_each_view_of_a_rendered_object_becomes_a_map_as_a_kinect_sees_it():
    depth_m = np.stack([np.full((28, 28), 1.5, np.float32), np.zeros((28, 28), np.float32)])
    rendered = SimpleNamespace(depth_m=depth_m, focal_px=600.0)
    stored = depth.MODALITY.from_render(depth.DepthSignal(side_px=14), rendered)
    assert stored.shape == (2, 14, 14)
    np.testing.assert_allclose(stored[0], 600 * 0.075 / 1.5)
    assert not stored[1].any()
