"""Objaverse-LVIS: the list, its clouds, and paths of another machine."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.benchmarks.datasets.objaverse_lvis import mount
from tests.pipelines.benchmarks import small_clouds
from tests.pipelines.source.datasets.openshape_tree import Tree, whole
from vitlens_core.errors import ConfigError, InputError


def _entries(root: Path) -> list[dict[str, Any]]:
    return json.loads((root / "split" / "lvis.json").read_text())


def _write(root: Path, content: object) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (root / "split" / "lvis.json").write_text(text)


def test_clouds_keep_their_colours(tmp_path):
    mounted = mount(str(small_clouds.lvis(tmp_path)))
    assert [e.labels for e in mounted.test] == [("Banana",), ("coffee table",)]
    assert mounted.classes == ("Banana", "coffee table")
    assert mounted.notes == ("2 categories; the whole list has 1156",)
    cloud = mounted.test[1].read()["point_cloud"]
    np.testing.assert_allclose(cloud[:, :3], small_clouds.points(10_000, 1))
    rgb = np.random.default_rng(1).random((10_000, 3))
    np.testing.assert_allclose(cloud[:, 3:], rgb, atol=1e-6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "is not JSON"),
        ([], "expected a list"),
        ({}, "expected a list"),
        (["uid"], "expected objects with"),
    ],
)
def test_a_wrong_list_is_refused(tmp_path, content, message):
    _write(small_clouds.lvis(tmp_path), content)
    with pytest.raises(ConfigError, match=message):
        mount(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"uid": None}, "expected texts uid"),
        ({"category": ""}, "expected texts uid"),
        ({"group": 3}, "expected texts uid"),
        ({"data_path": "/mnt/000-001/a.npy"}, "expected a data_path"),
        ({"data_path": "Objaverse/../a.npy"}, "expected a data_path"),
        ({"data_path": "a.npy"}, "expected a data_path"),
        ({"data_path": "/x/Objaverse/000-009/a.npy"}, "no file"),
        ({"uid": f"{0:032x}"}, "a second time"),
    ],
)
def test_a_wrong_entry_is_refused_by_its_place(tmp_path, change, message):
    entries = _entries(small_clouds.lvis(tmp_path))
    _write(tmp_path, [entries[0], entries[1] | change])
    with pytest.raises(ConfigError, match=message) as refused:
        mount(str(tmp_path))
    assert "entry 1" in str(refused.value)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (np.ones((4, 3)), "a dictionary with xyz and rgb"),
        (np.array({"xyz": np.ones((4, 3))}, dtype=object), "a dictionary with xyz and rgb"),
        (np.array({"xyz": np.ones((4, 3)), "rgb": np.full((4, 3), 255)}, dtype=object), "0..1"),
    ],
)
def test_a_wrong_cloud_is_refused(tmp_path, item, message):
    entries = _entries(small_clouds.lvis(tmp_path))
    path = tmp_path / "Objaverse" / entries[0]["group"] / f"{entries[0]['uid']}.npy"
    np.save(path, item, allow_pickle=True)
    with pytest.raises(InputError, match=message):
        mount(str(tmp_path)).test[0].read()


def test_a_folder_without_the_list_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no file .*lvis\.json"):
        mount(str(tmp_path))
    with pytest.raises(ConfigError, match="no folder"):
        mount(str(tmp_path / "nowhere"))


def test_one_tree_serves_the_source_and_the_benchmark(tmp_path):
    tree = Tree(tmp_path)
    source = whole(tree)
    mounted = mount(str(tmp_path))
    listed = {pair.key: pair for pair in source.pairs() if pair.split == "test"}
    assert {example.key for example in mounted.test} == listed.keys()
    for example in mounted.test:
        assert example.labels == (listed[example.key].label,)
        assert example.read()["point_cloud"].shape[1] == 6
