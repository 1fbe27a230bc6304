"""renders: views, depth and points of an object agree; the same object gives the same bytes."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from pipelines.execution.shard_tasks import ShardTask, read_record
from pipelines.renders.job import ShardRenderer
from pipelines.renders.step import RendersConfig
from pipelines.store.artifacts import Artifact, Quarantined
from pipelines.store.shards import Sample, decode_array, decode_png, read_shard, view_names
from tests.pipelines.shard_bytes import encode_shard
from vitlens_core.errors import ConfigError

VIEWS, SIZE_PX, POINTS = 4, 64, 512


@pytest.fixture(scope="module")
def samples(renders_artifact: Artifact) -> list[Sample]:
    return [sample for path in renders_artifact.shards() for sample in read_shard(path)]


def _arrays(data: bytes) -> dict[str, np.ndarray]:
    return dict(np.load(io.BytesIO(data)))


def test_every_sample_holds_what_was_asked_for(samples: list[Sample]) -> None:
    assert len(samples) == 12
    for sample in samples:
        names = view_names(sample)
        assert len(names) == VIEWS
        assert {decode_png(sample[name]).shape for name in names} == {(SIZE_PX, SIZE_PX, 4)}
        depth_m = _arrays(sample["depth.npz"])["depth_m"]
        assert (depth_m.shape, depth_m.dtype) == ((VIEWS, SIZE_PX, SIZE_PX), np.float32)
        points = decode_array(sample["points.npy"])
        assert (points.shape, points.dtype) == ((POINTS, 6), np.float32)
        cameras = _arrays(sample["cameras.npz"])
        assert cameras["intrinsics_px"].shape == (3, 3)
        assert cameras["cam_to_world"].shape == (VIEWS, 4, 4)


def test_annotations_travel_on_beside_the_scale_of_the_source(
    samples: list[Sample], objects_artifact: Artifact
) -> None:
    described = {s["__key__"]: json.loads(s["json"]) for s in samples}
    for path in objects_artifact.shards():
        for sample in read_shard(path):
            known = described.get(sample["__key__"])
            if known is not None:
                source = known.pop("source")
                assert known == json.loads(sample["json"])
                assert source["scale"] > 0
                assert len(source["centre"]) == 3


def test_depth_is_there_where_the_object_is(samples: list[Sample]) -> None:
    """Between the near and the far side of the unit stage, 1.5 m away; but for soft edges."""
    for sample in samples:
        alpha = np.stack([decode_png(sample[name])[..., 3] for name in view_names(sample)])
        depth_m = _arrays(sample["depth.npz"])["depth_m"]
        assert (depth_m[alpha == 0] == 0).all()
        seen = depth_m[alpha == 255]
        assert len(seen) > 20
        assert (seen > 0).mean() > 0.98
        assert depth_m[depth_m > 0].min() > 0.6
        assert depth_m.max() < 2.4


def test_points_lie_on_what_the_cameras_see(samples: list[Sample]) -> None:
    """Few points are nearer than the surface drawn at their pixel, and some lie on it.

    Glass is sampled but has no depth, and parts thinner than a pixel are drawn in some only.
    """
    behind = []
    for sample in samples:
        cameras = _arrays(sample["cameras.npz"])
        depth_m = _arrays(sample["depth.npz"])["depth_m"]
        xyz = decode_array(sample["points.npy"])[:, :3]
        on_surface = np.zeros(len(xyz), bool)
        for view in range(VIEWS):
            world_to_cam = np.linalg.inv(cameras["cam_to_world"][view])
            seen = xyz @ world_to_cam[:3, :3].T + world_to_cam[:3, 3]
            pixels = seen @ cameras["intrinsics_px"].T
            column, row = (pixels[:, :2] / pixels[:, 2:]).astype(int).T.clip(1, SIZE_PX - 2)
            # A point may fall on the neighbour of the pixel that holds its surface.
            near = np.stack(
                [depth_m[view, row + i, column + j] for i in (-1, 0, 1) for j in (-1, 0, 1)]
            )
            nearest = np.where(near > 0, near, np.inf).min(0)
            behind.append((seen[:, 2] > nearest - 0.05).mean())
            on_surface |= np.abs(near - seen[:, 2]).min(0) < 0.03
        assert on_surface.mean() > 0.3
    assert np.median(behind) > 0.99
    assert np.mean(behind) > 0.97
    assert min(behind) > 0.6


def test_colours_of_points_are_those_of_the_pictures(samples: list[Sample]) -> None:
    for sample in samples:
        points = decode_array(sample["points.npy"])
        assert points[:, 3:].min() >= 0
        assert points[:, 3:].max() <= 1
        assert np.abs(points[:, :3]).max() <= 0.5 + 1e-4


def test_a_prefix_of_the_points_covers_the_object(samples: list[Sample]) -> None:
    """Farthest-point order: the first 64 reach as far as all, and lie apart."""
    for sample in samples:
        xyz = decode_array(sample["points.npy"])[:, :3]
        extent, of_prefix = np.ptp(xyz, axis=0), np.ptp(xyz[:64], axis=0)
        assert (of_prefix >= 0.8 * extent - 1e-3).all()
        first, last = xyz[:64], xyz[-64:]
        assert _nearest(first, first).mean() > 1.5 * _nearest(last, xyz).mean()


def _nearest(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distance of each of `some` to the nearest of `others` that is not itself."""
    distances = np.linalg.norm(some[:, None] - others[None], axis=-1)
    return np.where(distances > 1e-9, distances, np.inf).min(1)


def test_what_cannot_be_rendered_is_set_aside_with_its_reason(renders_artifact: Artifact) -> None:
    (broken,) = renders_artifact.quarantined()
    assert (broken.key, broken.step) == ("is-html", "renders")
    assert "instead of a glTF" in broken.reason


def test_the_same_objects_give_the_same_bytes(
    objects_artifact: Artifact, renders_artifact: Artifact
) -> None:
    config = RendersConfig.model_validate(renders_artifact.manifest.config)
    processor = ShardRenderer(config.settings(), objects_artifact)
    name = "test-00000"
    again = list(processor.samples(ShardTask(name)))
    processor.worker.close()
    good = [sample for sample in again if not isinstance(sample, Quarantined)]
    assert encode_shard(good) == renders_artifact.path(f"{name}.tar").read_bytes()
    assert len(good) == read_record(renders_artifact.folder, name).samples


@pytest.mark.parametrize("wrong", [{"polar_deg": (0.0,)}, {"polar_deg": (180.0, 90.0)}])
def test_cameras_that_cannot_be_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match="polar"):
        RendersConfig(**wrong).settings()


@pytest.mark.parametrize("rings", [(90.0,), (60.0, 90.0, 120.0)])
@pytest.mark.parametrize("azimuths", [1, 4])
def test_the_settings_say_how_many_views_are_made(rings: tuple[float, ...], azimuths: int) -> None:
    config = RendersConfig(polar_deg=rings, azimuths=azimuths)
    assert config.views == len(config.settings().cameras()) == len(rings) * azimuths
