"""ScanObjectNN in both forms."""

import h5py
import numpy as np
import pytest

from pipelines.benchmarks.datasets.scanobjectnn import CLASSES, mount_h5, mount_openshape
from tests.pipelines.benchmarks import small_clouds
from vitlens_core.errors import ConfigError, InputError

XYZ = np.stack([small_clouds.points(20, seed) for seed in range(2)])
LABELS = np.array([1, 2])


def test_labels_count_in_the_published_order(tmp_path):
    mounted = mount_openshape(str(small_clouds.scanobjectnn(tmp_path)))
    assert [e.labels for e in mounted.test] == [("bag",), ("chair",), ("toilet",)]
    assert (len(mounted.classes), mounted.classes) == (15, CLASSES)


def test_points_are_drawn_and_grey_where_colourless(tmp_path):
    mounted = mount_openshape(str(small_clouds.scanobjectnn(tmp_path)))
    cloud = mounted.test[1].read()["point_cloud"]
    stored = small_clouds.points(10_500, 1)
    assert cloud.shape == (10_000, 6)
    assert {tuple(p) for p in cloud[:, :3]} <= {tuple(p) for p in stored}
    assert set(cloud[:, 3:].ravel()) == {np.float32(0.4)}
    np.testing.assert_array_equal(cloud, mounted.test[1].read()["point_cloud"])


def test_colours_and_clouds_of_several_sizes_are_kept(tmp_path):
    sizes = (10_000, 10_050)
    content = {
        "xyz": small_clouds.object_array([small_clouds.points(n, 0) for n in sizes]),
        "rgb": small_clouds.object_array([np.full((n, 3), 0.25) for n in sizes]),
        "label": LABELS,
    }
    mounted = mount_openshape(str(small_clouds.scanobjectnn(tmp_path, content)))
    for example in mounted.test:
        cloud = example.read()["point_cloud"]
        assert cloud.shape == (10_000, 6)
        assert set(cloud[:, 3:].ravel()) == {np.float32(0.25)}


def test_the_authors_2048_points_are_repeated(tmp_path):
    mounted = mount_h5(str(small_clouds.scanobjectnn_h5(tmp_path)))
    assert [e.labels for e in mounted.test] == [("display",), ("sofa",)]
    cloud = mounted.test[0].read()["point_cloud"]
    assert cloud.shape == (10_000, 6)
    assert 1900 < len(np.unique(cloud[:, :3], axis=0)) <= 2048


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"xyz": XYZ}, "label missing"),
        ({"label": LABELS}, "xyz missing"),
        ({"xyz": XYZ, "label": LABELS[:1]}, "expected 1 xyz"),
        ({"xyz": 3, "label": LABELS}, "expected 2 xyz, one a label; found 0"),
        ({"xyz": XYZ, "label": [[1], [1, 2]]}, "labels as one array"),
        ({"xyz": XYZ, "label": LABELS, "rgb": XYZ[:1]}, "expected 2 rgb"),
        ({"xyz": XYZ, "label": LABELS + 13}, r"labels 0\.\.14, found 14\.\.15"),
        ({"xyz": XYZ, "label": LABELS / 2}, "whole numbers"),
        ({"xyz": XYZ, "label": LABELS[:, None]}, "whole numbers"),
        ({"xyz": XYZ[:0], "label": LABELS[:0]}, "whole numbers"),
    ],
)
def test_a_wrong_dictionary_is_refused(tmp_path, content, message):
    small_clouds.scanobjectnn(tmp_path, content)
    with pytest.raises(ConfigError, match=message):
        mount_openshape(str(tmp_path))


def test_what_is_no_dictionary_is_refused(tmp_path):
    (tmp_path / "scanobjectnn").mkdir()
    with pytest.raises(ConfigError, match="found nothing"):
        mount_openshape(str(tmp_path))
    np.save(tmp_path / "scanobjectnn" / "xyz_label.npy", XYZ)
    with pytest.raises(ConfigError, match="expected a dictionary"):
        mount_openshape(str(tmp_path))


@pytest.mark.parametrize(
    ("rgb", "message"), [(XYZ + 300, "rgb in 0..1"), (np.full((2, 20, 3), np.nan), "NaN")]
)
def test_wrong_colours_are_refused_by_their_object(tmp_path, rgb, message):
    small_clouds.scanobjectnn(tmp_path, {"xyz": XYZ, "label": LABELS, "rgb": rgb})
    with pytest.raises(InputError, match=message) as refused:
        mount_openshape(str(tmp_path)).test[1].read()
    assert "object 1" in str(refused.value)


def test_a_wrong_h5_is_refused(tmp_path):
    small_clouds.scanobjectnn_h5(tmp_path, points=XYZ)
    with pytest.raises(ConfigError, match="an HDF5 file with data and label"):
        mount_h5(str(tmp_path))
    path = tmp_path / "h5_files" / "main_split_nobg" / "test_objectdataset.h5"
    path.write_bytes(b"no HDF5")
    with pytest.raises(ConfigError, match="cannot be read"):
        mount_h5(str(tmp_path))


@pytest.mark.parametrize("how", ["external storage", "external link", "virtual", "soft link"])
def test_data_in_another_file_is_refused(tmp_path, how):
    path = small_clouds.scanobjectnn_h5(tmp_path) / (
        "h5_files/main_split_nobg/test_objectdataset.h5"
    )
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(1000))
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["label"] = np.zeros(2, np.int32)
    with h5py.File(path, "a") as file:
        del file["label"]
        if how == "external storage":
            external = [(str(secret), 0, 8)]
            file.create_dataset("label", (2,), "i4", external=external)
        elif how == "external link":
            file["label"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "label")
        elif how == "soft link":
            file["label"] = h5py.SoftLink("/data")
        else:
            layout = h5py.VirtualLayout((2,), "i4")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "label", shape=(2,))
            file.create_virtual_dataset("label", layout)
    with pytest.raises(ConfigError, match="in another file"):
        mount_h5(str(tmp_path))
