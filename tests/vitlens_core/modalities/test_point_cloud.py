"""Point clouds: order, normalisation, protocols, both tokenizers."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contracts.examples import Example, between_0_and_1
from tests.contracts.malformed import file_of_array, file_of_bytes, no_file, with_one
from tests.tiny_models import SIGNAL, TOKENIZER
from vitlens_core.errors import BadSampleError, ConfigError
from vitlens_core.modalities.point_cloud import (
    GREY,
    MODALITY,
    OPENSHAPE,
    ULIP,
    PointCloudSignal,
    PointCloudTokenizer,
)
from vitlens_core.rendering import RenderSettings

SIGNAL_64 = PointCloudSignal(points=64)
TINY: dict[str, Any] = {
    "points_seen": 64,
    "groups": 8,
    "group_size": 6,
    "encoder_dim": 16,
    "width": 12,
}
KINDS = [
    PointCloudTokenizer(**TINY),
    PointCloudTokenizer(**TINY, kind="set_abstraction", radius=0.4),
]
CLOUD = np.random.default_rng(0).random((11_000, 6), dtype=np.float32)
PLY_OF_X = b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n0\n"

EXAMPLE = Example(
    raw=between_0_and_1(60, 6),
    refused=(np.ones((60, 6)), np.ones((60, 4)), np.full((60, 6), 2.0) * np.eye(60, 6)),
    signal=SIGNAL,
    tokenizer=TOKENIZER,
    malformed=(
        ("absent", no_file("a.ply"), "found nothing"),
        (
            "not a PLY",
            file_of_bytes("a.ply", b"solid stl\n"),
            "found a file that begins with b'solid",
        ),
        ("no y and z", file_of_bytes("a.ply", PLY_OF_X), "x, y, z"),
        ("not a GLB", file_of_bytes("a.glb", b"<html>404</html>"), "found HTML"),
        (
            "pickled",
            file_of_array("a.npy", np.array([{}], dtype=object)),
            "a dictionary of points",
        ),
        ("five columns", CLOUD[:, :5], r"\[N, 3\], found \[11000, 5\]"),
        ("too few points", CLOUD[:100], "at least 10000 points, found 100"),
        ("NaN", with_one(np.nan, CLOUD), "found 1 that are NaN or infinite"),
        ("8-bit colours", CLOUD * [1, 1, 1, 255, 255, 255], "divide 8-bit colours by 255"),
        ("one place", np.ones_like(CLOUD), "all points in one place"),
    ),
)


def _cloud(seed: int, points: int = 100) -> np.ndarray:
    return np.random.default_rng(seed).random((points, 6), dtype=np.float32)


@pytest.mark.parametrize("tokenizer", KINDS, ids=lambda t: t.kind)
@given(seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=15)
def test_permuting_points_changes_nothing_while_the_centres_stay(tokenizer, seed):
    """Neighbourhoods are sets: only rounding of the sums may differ.

    Balls keep their first points in stored order, so here they are large enough to keep all.
    """
    torch.manual_seed(0)
    sized = tokenizer.model_copy(update={"group_size": 64})
    chosen = sized if tokenizer.kind == "set_abstraction" else tokenizer
    network = chosen.build(SIGNAL_64).eval()
    cloud = torch.from_numpy(_cloud(seed, 64))
    generator = torch.Generator().manual_seed(seed)
    order = torch.cat([torch.arange(8), 8 + torch.randperm(56, generator=generator)])
    seen = tokenizer.prepare(torch.stack([cloud, cloud[order]]), SIGNAL_64)
    first, second = network(seen)
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)


def test_stored_points_are_the_farthest_first():
    raw = _cloud(0, 3000)
    stored = SIGNAL_64.store(raw)
    assert stored.shape == (64, 6)
    assert {tuple(p) for p in stored} <= {tuple(p) for p in raw}
    spread = torch.pdist(torch.from_numpy(stored[:8, :3])).min()
    assert spread > 3 * torch.pdist(torch.from_numpy(raw[:8, :3])).min()


def test_a_cloud_without_colours_is_grey():
    stored = SIGNAL_64.store(_cloud(0)[:, :3])
    np.testing.assert_array_equal(stored[:, 3:], np.float32(GREY))


@given(
    scale=st.floats(0.01, 1000),
    shift=st.tuples(*[st.floats(-100, 100)] * 3),
    seed=st.integers(0, 100),
)
@settings(deadline=None, max_examples=20)
def test_neither_unit_nor_place_matters(scale, shift, seed):
    cloud = torch.from_numpy(_cloud(seed, 64)).double()
    moved = cloud.clone()
    moved[:, :3] = moved[:, :3] * scale + scale * torch.tensor(shift)
    seen = PointCloudTokenizer(**TINY).prepare(torch.stack([cloud, moved]), SIGNAL_64)
    # Coordinates up to 100 extents away keep float32's 24 bits less 7.
    torch.testing.assert_close(seen[0], seen[1], atol=1e-4, rtol=0)
    assert seen[0, :, :3].norm(dim=-1).max() == pytest.approx(1, abs=1e-4)


def test_protocols_are_named():
    cloud = torch.from_numpy(_cloud(0, 10_000))[None]
    signal = PointCloudSignal()
    ulip, openshape = ULIP.prepare(cloud, signal), OPENSHAPE.prepare(cloud, signal)
    assert ulip.shape == (1, 8192, 3)
    assert openshape.shape == (1, 10_000, 6)
    y_up = OPENSHAPE.model_copy(update={"up": "y"}).prepare(cloud, signal)
    torch.testing.assert_close(openshape[..., [0, 2, 1]], y_up[..., :3])
    torch.testing.assert_close(openshape[..., 3:], cloud[..., 3:])


def test_files_without_colour_are_read_as_they_are(tmp_path):
    np.save(tmp_path / "a.npy", _cloud(0)[:, :3])
    np.testing.assert_array_equal(MODALITY.read(tmp_path / "a.npy"), _cloud(0)[:, :3])


def test_a_towers_cloud_is_the_beginning_of_the_stored_one():
    raw, stored = _cloud(0, 3000), PointCloudSignal(points=1000)
    needed = PointCloudTokenizer(**TINY).signal_needed(stored)
    np.testing.assert_array_equal(needed.store(raw), stored.store(raw)[:64])


def test_a_rendered_objects_points_are_stored_as_they_come():
    rendered = SimpleNamespace(points=_cloud(0, 70).astype(np.float16))
    (stored,) = MODALITY.from_render(SIGNAL_64, rendered)
    np.testing.assert_array_equal(stored, rendered.points[:64])
    with pytest.raises(BadSampleError, match="expected 100 rendered points, found 70"):
        MODALITY.from_render(PointCloudSignal(points=100), rendered)
    MODALITY.check_renders(SIGNAL_64, RenderSettings(points=64))
    with pytest.raises(ConfigError, match=r"64 points of an object .* only 63"):
        MODALITY.check_renders(SIGNAL_64, RenderSettings(points=63))
