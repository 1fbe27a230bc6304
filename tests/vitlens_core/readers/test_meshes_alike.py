"""Meshes: the same content in every type, layout and container is read alike."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import plyfile
import pytest
from PIL import Image

from vitlens_core import notes
from vitlens_core.errors import InputError
from vitlens_core.readers.clouds import read_cloud

RNG = np.random.default_rng(0)
CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
QUADS = np.array(
    [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
)
TRIANGLES = np.concatenate([QUADS[:, [0, 1, 2]], QUADS[:, [0, 2, 3]]])
RED = np.array([200, 60, 30])


def _obj(faces: np.ndarray, colours: bool = False) -> str:
    tint = " 0.7843137 0.2352941 0.1176471" if colours else ""
    lines = [f"v {x} {y} {z}{tint}" for x, y, z in CUBE]
    return "\n".join(lines + ["f " + " ".join(str(i + 1) for i in face) for face in faces]) + "\n"


def _stl(text: bool) -> bytes:
    corners = CUBE[TRIANGLES]
    if text:
        facets = "".join(
            "facet normal 0 0 0\nouter loop\n"
            + "".join(f"vertex {x} {y} {z}\n" for x, y, z in one)
            + "endloop\nendfacet\n"
            for one in corners
        )
        return f"solid cube\n{facets}endsolid cube\n".encode()
    records = np.zeros(len(corners), [("n", "<f4", 3), ("c", "<f4", (3, 3)), ("a", "<u2")])
    records["c"] = corners
    return (
        b"solid, says the header of a binary file".ljust(80)
        + len(corners).to_bytes(4, "little")
        + records.tobytes()
    )


def _off(faces: np.ndarray) -> str:
    lines = ["OFF", f"8 {len(faces)} 0", *(" ".join(map(str, v)) for v in CUBE)]
    return "\n".join(lines + [f"{len(f)} " + " ".join(map(str, f)) for f in faces]) + "\n"


def _coloured_off(*, of_faces: bool) -> bytes:
    tint = " " + " ".join(map(str, RED))
    lines = ["OFF" if of_faces else "COFF", f"8 {len(QUADS)} 0  # counts"]
    lines += [" ".join(map(str, v)) + ("" if of_faces else tint + " 255") for v in CUBE]
    lines += ["4 " + " ".join(map(str, f)) + (tint if of_faces else "") for f in QUADS]
    return "\n".join(lines).encode()


def _ply_faces(faces: np.ndarray, *, text: bool, colours: str | None, index: str) -> bytes:
    kinds = [(axis, "f4") for axis in "xyz"]
    tint = [(name, "u1") for name in ("red", "green", "blue")]
    vertices = np.empty(8, kinds + (tint if colours == "vertex" else []))
    for i, axis in enumerate("xyz"):
        vertices[axis] = CUBE[:, i]
    polygons = np.empty(len(faces), [(index, "O"), *(tint if colours == "face" else [])])
    polygons[index] = list(faces.astype(np.int32))
    for table in (vertices, polygons):
        for (name, _), level in zip(tint, RED, strict=True):
            if name in (table.dtype.names or ()):
                table[name] = level
    elements = [
        plyfile.PlyElement.describe(vertices, "vertex"),
        plyfile.PlyElement.describe(polygons, "face", len_types={index: "u1"}),
    ]
    buffer = io.BytesIO()
    plyfile.PlyData(elements, text=text).write(buffer)
    return buffer.getvalue()


MESHES: dict[str, bytes] = {
    "triangles.obj": _obj(TRIANGLES).encode(),
    "quads.obj": _obj(QUADS).encode(),
    "text.stl": _stl(True),
    "binary.stl": _stl(False),
    "triangles.off": _off(TRIANGLES).encode(),
    "quads.off": _off(QUADS).encode(),
    "glued.off": _off(QUADS).replace("OFF\n", "OFF", 1).encode(),
    "triangles.ply": _ply_faces(TRIANGLES, text=True, colours=None, index="vertex_indices"),
    "quads.ply": _ply_faces(QUADS, text=False, colours=None, index="vertex_index"),
}


@pytest.mark.parametrize("name", MESHES)
@pytest.mark.parametrize("ending", [None, ".dat"])
def test_a_mesh_is_sampled_on_its_surface(tmp_path: Path, name: str, ending: str | None) -> None:
    """Whatever its ending: the content tells the format."""
    path = tmp_path / (name if ending is None else name.upper() + ending)
    path.write_bytes(MESHES[name])
    with notes.collected() as found:
        cloud = read_cloud(path, 6000, 0)
    assert cloud.shape == (6000, 3)
    assert found == ["the surface states no colours: points are grey"]
    side = np.abs(cloud) > 0.4 - 1e-6  # of a stage 0.8 m wide
    assert side.any(axis=1).all()
    np.testing.assert_allclose(side.mean(axis=0), 1 / 3, atol=0.03)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vertex.off", _coloured_off(of_faces=False)),
        ("face.off", _coloured_off(of_faces=True)),
        ("vertex.obj", _obj(QUADS, colours=True).encode()),
        ("vertex.ply", _ply_faces(QUADS, text=False, colours="vertex", index="vertex_indices")),
        ("face.ply", _ply_faces(QUADS, text=True, colours="face", index="vertex_indices")),
    ],
)
def test_colours_of_vertices_and_faces_are_those_of_the_surface(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    cloud = read_cloud(tmp_path / name, 500, 0)
    np.testing.assert_allclose(cloud[:, 3:], np.tile(RED / 255, (500, 1)), atol=3e-3)


def test_materials_and_textures_beside_an_object_are_read(tmp_path: Path) -> None:
    """From its own folder, and from nowhere else."""
    folder = tmp_path / "own"
    folder.mkdir()
    Image.new("RGB", (4, 4), tuple(RED)).save(folder / "red.png")
    uv = "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
    faces = "".join(
        "f " + " ".join(f"{v + 1}/{k + 1}" for k, v in enumerate(q)) + "\n" for q in QUADS
    )
    vertices = "".join(f"v {x} {y} {z}\n" for x, y, z in CUBE)
    libraries = {"in": "own.mtl", "windows": "C:\\made by\\Own.MTL", "out": "../other.mtl"}
    for name, library in libraries.items():
        text = f"mtllib {library}\n{vertices}{uv}usemtl m\n{faces}"
        (folder / f"{name}.obj").write_text(text)
    (folder / "own.mtl").write_text("newmtl m\nKd 0 0 0\nmap_Kd -s 1 1 1 Red.PNG\n")
    (tmp_path / "other.mtl").write_text("newmtl m\nKd 0 1 0\n")
    for name in ("in.obj", "windows.obj"):
        cloud = read_cloud(folder / name, 200, 0)
        np.testing.assert_allclose(cloud[:, 3:], np.tile(RED / 255, (200, 1)), atol=3e-3)
    with notes.collected() as found:
        assert read_cloud(folder / "out.obj", 200, 0).shape == (200, 3)
    assert any("../other.mtl is missing in the object's folder" in note for note in found)


def test_an_obj_of_vertices_alone_is_a_cloud(tmp_path: Path) -> None:
    lines = [f"v {x} {y} {z} {' '.join(map(str, RED))}" for x, y, z in CUBE]
    (tmp_path / "scan.obj").write_text("# a scan\n" + "\n".join(lines) + "\n")
    cloud = read_cloud(tmp_path / "scan.obj", 1, 0)
    np.testing.assert_allclose(cloud, np.hstack([CUBE, np.tile(RED / 255, (8, 1))]))


def test_a_ply_without_points_or_with_strips_is_refused(tmp_path: Path) -> None:
    axes = "".join(f"property float {axis}\n" for axis in "xyz")
    header = f"ply\nformat ascii 1.0\nelement vertex 0\n{axes}end_header\n"
    (tmp_path / "a.ply").write_text(header)
    with pytest.raises(InputError, match="expected a PLY with vertices, found none"):
        read_cloud(tmp_path / "a.ply", 10, 0)
