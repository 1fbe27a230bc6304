"""ModelNet40 under both protocols: files as published, and what is wrong with others."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.benchmarks.datasets.modelnet40 import CLASSES, mount_openshape, mount_ulip
from tests.pipelines.benchmarks import small_clouds
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.modalities.point_cloud import (
    OPENSHAPE,
    ULIP,
    PointCloudSignal,
    PointCloudTokenizer,
)


def openshape_input(xyz: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """What OpenShape's protocol shows a tower, written down plainly: [N, 6]."""
    swapped = np.stack([xyz[:, 0], xyz[:, 2], xyz[:, 1]], axis=1).astype(np.float64)
    centred = swapped - swapped.mean(axis=0)
    return np.hstack([centred / np.linalg.norm(centred, axis=1).max(), rgb / 255])


def by_place(cloud: np.ndarray) -> np.ndarray:
    return cloud[np.lexsort(cloud.T[::-1])]


def seen_by(protocol: PointCloudTokenizer, raw: np.ndarray) -> torch.Tensor:
    """What a tower of a protocol sees of a cloud [N, C]."""
    signal = protocol.signal_needed(PointCloudSignal())
    return protocol.prepare(torch.from_numpy(signal.store(raw))[None], signal)[0]


def test_there_are_forty_classes():
    assert len(set(CLASSES)) == 40


def test_the_tower_sees_what_openshape_s_protocol_states(tmp_path):
    mounted = mount_openshape(str(small_clouds.openshape_modelnet(tmp_path)))
    assert [e.labels for e in mounted.test] == [("airplane",), ("night stand",)]
    assert mounted.classes == CLASSES
    raw = mounted.test[1].read()["point_cloud"]
    assert raw.shape == (10_000, 6)
    seen = seen_by(OPENSHAPE, raw).numpy()
    expected = openshape_input(small_clouds.points(10_000, 1), np.full((10_000, 3), 100.0))
    np.testing.assert_allclose(by_place(seen), by_place(expected), atol=1e-5)
    np.testing.assert_allclose(seen[:, 3:], 100 / 255, atol=1e-6)


def test_more_points_are_drawn_the_same_every_time(tmp_path):
    root = small_clouds.openshape_modelnet(tmp_path, ["car"], count=10_400)
    [example] = mount_openshape(str(root)).test
    first, again = (example.read()["point_cloud"] for _ in range(2))
    assert first.shape == (10_000, 6)
    assert len(np.unique(first[:, :3], axis=0)) == 10_000
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("write", [small_clouds.ulip_dat, small_clouds.ulip_texts])
def test_both_of_ulip_s_forms_give_xyz_with_y_up(tmp_path, write):
    mounted = mount_ulip(str(write(tmp_path)))
    assert [e.labels for e in mounted.test] == [("airplane",), ("night stand",)]
    raw = mounted.test[0].read()["point_cloud"]
    count = len(raw)
    np.testing.assert_allclose(raw[:, :3], small_clouds.points(count, 0), atol=1e-6)
    seen = seen_by(ULIP, raw)
    assert seen.shape == (8192, 3)
    assert seen.norm(dim=1).max() == pytest.approx(1, abs=1e-5)
    assert seen.mean(dim=0).abs().max() < 1e-5


def _split(root: Path, content: object) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (root / "modelnet40" / "test_split.json").write_text(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ([], "expected"),
        ({"name": "a"}, "expected"),
        (["airplane"], "expected"),
        ([{"name": "a"}], "entry 0: None is none of ModelNet40's 40 classes"),
        ([{"category": "zebra"}], "'zebra' is none"),
    ],
)
def test_a_wrong_list_is_refused(tmp_path, content, message):
    _split(small_clouds.openshape_modelnet(tmp_path), content)
    with pytest.raises(ConfigError, match=message):
        mount_openshape(str(tmp_path))


@pytest.mark.parametrize("name", ["test_split.json", "test_pc.npy"])
def test_a_missing_file_is_named(tmp_path, name):
    (small_clouds.openshape_modelnet(tmp_path) / "modelnet40" / name).unlink()
    with pytest.raises(ConfigError, match=rf"no file .*{name}"):
        mount_openshape(str(tmp_path))


XYZ, GREY = np.ones((5, 3)), np.full((5, 3), 100)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (XYZ, "expected a dictionary with xyz and rgb"),
        ({"xyz": XYZ}, "expected a dictionary with xyz and rgb"),
        ({"xyz": XYZ.T, "rgb": GREY}, r"expected xyz as numbers \[N, 3\]"),
        ({"xyz": XYZ, "rgb": GREY[:4]}, "as many colours as points, found 4 and 5"),
        ({"xyz": XYZ, "rgb": GREY * 3}, "rgb in 0..255, found up to 300"),
        ({"xyz": XYZ, "rgb": -GREY}, "down to -100"),
        ({"xyz": XYZ * np.nan, "rgb": GREY}, "NaN"),
        ({"xyz": np.full((5, 3), "a"), "rgb": GREY}, "as numbers"),
        ({"xyz": XYZ[:0], "rgb": GREY[:0]}, "as numbers"),
        ({"xyz": [[1, 2, 3], [1]], "rgb": GREY}, "as one array"),
    ],
)
def test_a_wrong_cloud_is_refused_by_its_place(tmp_path, item, message):
    small_clouds.openshape_modelnet(tmp_path, ["car"])
    array = small_clouds.object_array([item])
    np.save(tmp_path / "modelnet40" / "test_pc.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=message) as refused:
        mount_openshape(str(tmp_path)).test[0].read()
    assert "object 0" in str(refused.value)


def test_fewer_clouds_than_listed_are_refused(tmp_path):
    small_clouds.openshape_modelnet(tmp_path, ["car", "bed"])
    np.save(tmp_path / "modelnet40" / "test_pc.npy", small_clouds.object_array([1]))
    with pytest.raises(InputError, match="expected 2 objects, as listed"):
        mount_openshape(str(tmp_path)).test[0].read()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2, 3], "a list of points and a list of labels"),
        ([1, 2], "a list of points and a list of labels"),
        ([[XYZ], [0, 1]], "found 1 clouds and 2 labels"),
        ([[], []], "found 0 clouds"),
        ([[XYZ], [40]], r"labels 0\.\.39"),
        ([[XYZ], ["chair"]], "whole number as each label"),
    ],
)
def test_a_wrong_dat_is_refused(tmp_path, content, message):
    (tmp_path / "modelnet40_test_8192pts_fps.dat").write_bytes(pickle.dumps(content))
    with pytest.raises(ConfigError, match=message):
        mount_ulip(str(tmp_path))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (small_clouds.points(8191, 0), "8192 points or more, found 8191"),
        (np.ones((8192, 2)), r"\[N, 3\] or \[N, 6\]"),
        ([[1, 2, 3], [1]], "as one array"),
    ],
)
def test_a_wrong_ulip_cloud_is_refused(tmp_path, points, message):
    (tmp_path / "modelnet40_test_8192pts_fps.dat").write_bytes(pickle.dumps([[points], [0]]))
    with pytest.raises(InputError, match=message):
        mount_ulip(str(tmp_path)).test[0].read()


def test_wrong_text_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="neither"):
        mount_ulip(str(tmp_path))
    names = tmp_path / "modelnet40_test.txt"
    for content, message in (
        ("", "found 0"),
        ("car_0001\ncar_0001\n", "each once"),
        ("zebra_0001\n", "'zebra' is none"),
        ("car_0001\n", "line 1: no file"),
    ):
        names.write_text(content)
        with pytest.raises(ConfigError, match=message):
            mount_ulip(str(tmp_path))
    (tmp_path / "car").mkdir()
    (tmp_path / "car" / "car_0001.txt").write_text("1,2,three\n")
    with pytest.raises(InputError, match="cannot be read as lines"):
        mount_ulip(str(tmp_path)).test[0].read()
