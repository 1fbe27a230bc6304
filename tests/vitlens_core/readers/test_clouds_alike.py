"""Point clouds: the same content in every type, layout and container is read alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import plyfile
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vitlens_core import notes
from vitlens_core.errors import InputError
from vitlens_core.modalities import point_cloud
from vitlens_core.readers.clouds import read_cloud

RNG = np.random.default_rng(0)
XYZ = RNG.normal(size=(60, 3))
RGB8 = RNG.integers(0, 256, (60, 3))
RGB8[0], RGB8[1] = 255, 0  # white and black, which tell the scale of a type

written_once = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

COLOURS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "uchar": ("u1", lambda c: c),
    "char": ("i1", lambda c: c.astype(np.uint8).view(np.int8)),
    "8 bit in ushort": ("u2", lambda c: c),
    "ushort": ("u2", lambda c: c * 257),
    "8 bit in short": ("i2", lambda c: c),
    "8 bit in int": ("i4", lambda c: c),
    "16 bit in int": ("i4", lambda c: c * 257),
    "8 bit in uint": ("u4", lambda c: c),
    "uint": ("u4", lambda c: c.astype(np.int64) * 0x01010101),
    "float": ("f4", lambda c: c / 255),
    "double": ("f8", lambda c: c / 255),
    "8 bit in float": ("f4", lambda c: c),
}
NAMES = [
    ("red", "green", "blue"),
    ("r", "g", "b"),
    ("R", "G", "B"),
    ("Red", "Green", "Blue"),
    ("diffuse_red", "diffuse_green", "diffuse_blue"),
    ("vertex_red", "vertex_green", "vertex_blue"),
    ("scalar_R", "scalar_G", "scalar_B"),
]


def _write_ply(
    path: Path, columns: dict[str, tuple[str, np.ndarray]], *, form: str = "<", text: bool = False
) -> Path:
    vertices = np.empty(len(XYZ), [(name, kind) for name, (kind, _) in columns.items()])
    for name, (_, values) in columns.items():
        vertices[name] = values
    element = plyfile.PlyElement.describe(vertices, "vertex")
    plyfile.PlyData([element], text=text, byte_order="=" if text else form).write(str(path))
    return path


@written_once
@given(
    colour=st.sampled_from(list(COLOURS)),
    names=st.sampled_from(NAMES),
    coordinates=st.sampled_from(["f4", "f8"]),
    form=st.sampled_from("<>"),
    text=st.booleans(),
    before=st.booleans(),
)
def test_a_ply_has_its_colours_whatever_their_type_and_name(
    tmp_path: Path, colour: str, names: Any, coordinates: str, form: str, text: bool, before: bool
) -> None:
    kind, stored = COLOURS[colour]
    place = {axis: (coordinates, XYZ[:, i]) for i, axis in enumerate("xyz")}
    tint = {name: (kind, stored(RGB8)[:, i]) for i, name in enumerate(names)}
    columns = {**tint, **place} if before else {**place, "nx": ("f4", XYZ[:, 0]), **tint}
    cloud = read_cloud(_write_ply(tmp_path / "a.ply", columns, form=form, text=text), 1, 0)
    np.testing.assert_allclose(cloud[:, :3], XYZ, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(cloud[:, 3:], RGB8 / 255, atol=1e-6)


@pytest.mark.parametrize("kind", ["u4", "i4", "f4"])
def test_packed_colours_of_pcl_are_unpacked(tmp_path: Path, kind: str) -> None:
    packed = (RGB8[:, 0] << 16 | RGB8[:, 1] << 8 | RGB8[:, 2]).astype(np.uint32)
    columns = {axis: ("f4", XYZ[:, i]) for i, axis in enumerate("xyz")}
    columns["rgb"] = (kind, packed.view(kind))
    cloud = read_cloud(_write_ply(tmp_path / "a.ply", columns), 1, 0)
    np.testing.assert_allclose(cloud[:, 3:], RGB8 / 255, atol=1e-6)


def test_a_gaussian_splat_has_the_colour_of_its_first_harmonic(tmp_path: Path) -> None:
    columns = {axis: ("f4", XYZ[:, i]) for i, axis in enumerate("xyz")}
    dc = (RGB8 / 255 - 0.5) / 0.28209479177387814
    columns |= {f"f_dc_{i}": ("f4", dc[:, i]) for i in range(3)}
    columns |= {f"f_rest_{i}": ("f4", XYZ[:, 0]) for i in range(9)}
    cloud = read_cloud(_write_ply(tmp_path / "a.ply", columns), 1, 0)
    np.testing.assert_allclose(cloud[:, 3:], RGB8 / 255, atol=1e-6)


@pytest.mark.parametrize("name", ["grey", "gray", "luminance"])
def test_grey_levels_are_colours(tmp_path: Path, name: str) -> None:
    columns: dict[str, Any] = {axis: ("f4", XYZ[:, i]) for i, axis in enumerate("xyz")}
    columns[name] = ("u1", RGB8[:, 0])
    cloud = read_cloud(_write_ply(tmp_path / "a.ply", columns), 1, 0)
    np.testing.assert_allclose(cloud[:, 3:], RGB8[:, :1].repeat(3, axis=1) / 255)


def test_a_cloud_without_colours_is_told(tmp_path: Path) -> None:
    columns = {axis: ("f4", XYZ[:, i]) for i, axis in enumerate("xyz")}
    columns["intensity"] = ("f4", XYZ[:, 0])
    path = _write_ply(tmp_path / "a.ply", columns)
    np.save(tmp_path / "a.npy", XYZ)
    with notes.collected() as found:
        assert read_cloud(path, 1, 0).shape == (60, 3)
    assert found == ["no colours among x, y, z, intensity: points are grey"]
    with notes.collected() as found:
        assert read_cloud(tmp_path / "a.npy", 1, 0).shape == (60, 3)
    assert found == ["the array has no colours: points are grey"]


def test_colours_that_are_none_are_refused(tmp_path: Path) -> None:
    normals = XYZ / np.linalg.norm(XYZ, axis=1, keepdims=True)
    np.save(tmp_path / "a.npy", np.hstack([XYZ, normals]))
    with pytest.raises(InputError, match=r"columns 4 to 6 are no colours.*normals, leave them out"):
        read_cloud(tmp_path / "a.npy", 1, 0)


def _arrays(folder: Path) -> dict[str, Path]:
    """The cloud in every array file."""
    whole, paths = np.hstack([XYZ, RGB8 / 255]), {}
    for kind in ("<f8", ">f8", "<f4", ">f4"):
        paths[kind] = folder / f"{'be' if kind[0] == '>' else 'le'}{kind[2]}.npy"
        np.save(paths[kind], whole.astype(kind))
    paths["fortran"] = folder / "fortran.npy"
    np.save(paths["fortran"], np.asfortranarray(whole))
    paths["8 bit"] = folder / "eight.npy"
    np.save(paths["8 bit"], np.hstack([XYZ, RGB8]))
    paths["alpha"] = folder / "alpha.npy"
    np.save(paths["alpha"], np.hstack([XYZ, RGB8, np.full((60, 1), 255)]))
    paths["structured"] = folder / "structured.npy"
    fields = [(axis, "f8") for axis in "xyz"] + [(c, "u1") for c in ("red", "green", "blue")]
    structured = np.empty(60, fields)
    for i, (name, _) in enumerate(fields):
        structured[name] = np.hstack([XYZ, RGB8])[:, i]
    np.save(paths["structured"], structured)
    paths["dictionary"] = folder / "dictionary.npy"
    content = {"xyz": XYZ, "rgb": RGB8 / 255, "image_feat": np.zeros((12, 4))}
    np.save(paths["dictionary"], content, allow_pickle=True)  # ty: ignore[invalid-argument-type]
    for points, colours in (("xyz", "rgb"), ("points", "colors"), ("pos", "color")):
        paths[f"npz {points}"] = folder / f"{points}.npz"
        arrays: Any = {points: XYZ, colours: RGB8.astype(np.uint8)}
        np.savez(paths[f"npz {points}"], **arrays)
    for name, separator in (("csv", ","), ("xyz", " "), ("tsv", "\t")):
        paths[name] = folder / f"a.{name}"
        np.savetxt(paths[name], np.hstack([XYZ, RGB8]), delimiter=separator, fmt="%.9f")
    paths["named csv"] = folder / "named.csv"
    lines = np.hstack([RGB8, XYZ])
    np.savetxt(paths["named csv"], lines, delimiter=",", header="r,g,b,x,y,z", comments="")
    return paths


def test_a_cloud_is_the_same_in_every_array_file(tmp_path: Path) -> None:
    for name, path in _arrays(tmp_path).items():
        cloud = read_cloud(path, 1, 0)
        np.testing.assert_allclose(cloud[:, :3], XYZ, rtol=1e-6, atol=1e-8, err_msg=name)
        np.testing.assert_allclose(cloud[:, 3:], RGB8 / 255, atol=1e-6, err_msg=name)


@given(scale=st.sampled_from([1e-7, 1e-3, 1, 1e3, 1e7]), offset=st.sampled_from([0, 10, 1e4]))
def test_place_and_scale_do_not_change_what_the_tower_sees(scale: float, offset: float) -> None:
    """Survey coordinates of a scan have seven digits before those of its shape."""
    import torch

    signal = point_cloud.PointCloudSignal(points=32)
    tokenizer = point_cloud.PointCloudTokenizer(points_seen=32, groups=4, group_size=4)

    def seen(cloud: np.ndarray) -> np.ndarray:
        stored = torch.from_numpy(signal.store(cloud).astype(np.float16))[None]
        return tokenizer.prepare(stored, signal).numpy()

    cloud = np.hstack([XYZ, RGB8 / 255])
    moved = np.hstack([(XYZ + offset * np.array([1, -2, 3])) * scale, RGB8 / 255])
    np.testing.assert_allclose(seen(moved), seen(cloud), atol=2e-3)
