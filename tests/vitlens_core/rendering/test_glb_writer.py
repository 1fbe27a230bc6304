"""A mesh that is written as a GLB and read again is the same to look at."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable

import numpy as np
import pytest

from tests.vitlens_core.rendering.glb_builder import QUAD, QUAD_FACES, QUAD_UV, Glb, cube, solid
from vitlens_core.rendering import Layer, Material, Mesh, Part, Texture, load_glb, sample_surface
from vitlens_core.rendering.glb_writer import encode_glb, mesh_of_points

CLOUD = np.random.default_rng(0).random((500, 6)).astype(np.float32)
STRIPES = np.zeros((8, 8, 4), np.uint8)
STRIPES[..., 3] = 255
STRIPES[:, ::2, 0] = 200


def _quad(material: Material, colours: np.ndarray | None = None) -> Mesh:
    rgba = np.ones((4, 4), np.float32) if colours is None else colours
    faces = QUAD_FACES.reshape(-1, 3).astype(np.uint32)
    normals = np.zeros((4, 3), np.float32)
    return Mesh((Part(QUAD.astype(np.float64), normals, QUAD_UV[None], rgba, faces, material),))


def _lines() -> Mesh:
    [part] = _quad(Material()).parts
    faces = np.array([[0, 1], [1, 2]], np.uint32)
    return Mesh((Part(part.positions, part.normals, part.uv, part.colours, faces, part.material),))


def _two_parts() -> Mesh:
    red = Material(Layer(factor=(0.8, 0.1, 0.1, 1.0)))
    return Mesh((*_quad(red).parts, *_quad(Material(unlit=True)).parts))


MESHES: dict[str, Callable[[], Mesh]] = {
    "a factor": lambda: _quad(Material(Layer(factor=(0.5, 0.25, 0.125, 1.0)), double_sided=True)),
    "colours of vertices": lambda: _quad(
        Material(), np.random.default_rng(1).random((4, 4)).astype(np.float32)
    ),
    "a texture": lambda: _quad(Material(Layer(Texture(STRIPES, (True, False), nearest=True)))),
    "a cut-out": lambda: _quad(Material(alpha_mode="MASK", alpha_cutoff=0.25)),
    "points": lambda: mesh_of_points(CLOUD),
    "lines": _lines,
    "two parts": _two_parts,
    "a cube of another writer": lambda: load_glb(cube(solid(200, 100, 50)).pack()),
}


@pytest.mark.parametrize("name", MESHES)
def test_what_is_written_is_read_again(name: str) -> None:
    mesh = MESHES[name]()
    again = load_glb(encode_glb(mesh))
    assert (again.corners, len(again.parts)) == (mesh.corners, len(mesh.parts))
    np.testing.assert_allclose(again.bounds(), mesh.bounds(), atol=1e-6)
    # The same draw from both: places and colours, which 8 bits of a texture do not change.
    found, expected = (sample_surface(each, 400, 0) for each in (again, mesh))
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(expected, axis=0), atol=2e-3)
    for part, before in zip(again.parts, mesh.parts, strict=True):
        assert part.material.alpha_mode == before.material.alpha_mode
        has_no_sides = mesh.corners < 3
        assert part.material.double_sided == (before.material.double_sided or has_no_sides)
        assert part.material.unlit == (before.material.unlit or has_no_sides)


def test_nothing_is_required_of_a_viewer() -> None:
    for make in MESHES.values():
        written = encode_glb(make())
        (size,) = struct.unpack_from("<I", written, 12)
        document = json.loads(written[20 : 20 + size])
        assert "extensionsRequired" not in document
        assert set(document.get("extensionsUsed", [])) <= {"KHR_materials_unlit"}
        assert struct.unpack_from("<I", written, 8)[0] == len(written)


def test_vertices_of_no_face_and_many_points_are_left_out() -> None:
    glb = Glb()
    far = np.concatenate([QUAD, [[1e6, 0, 0]]]).astype(np.float32)
    glb.show(glb.add_mesh(far, QUAD_FACES))
    again = load_glb(encode_glb(load_glb(glb.pack())))
    assert [len(part.positions) for part in again.parts] == [4]
    many = np.tile(CLOUD, (300, 1))
    written = load_glb(encode_glb(mesh_of_points(many)))
    assert sum(len(part.faces) for part in written.parts) == 100_000


def test_a_large_texture_is_reduced_and_a_large_surface_becomes_points(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2048, 512, 4), dtype=np.uint8)
    [part] = load_glb(encode_glb(_quad(Material(Layer(Texture(noise)))))).parts
    assert part.material.base.texture is not None
    assert part.material.base.texture.texels.shape == (1024, 256, 4)
    monkeypatch.setattr("vitlens_core.rendering.glb_writer._MOST_TRIANGLES", 1)
    assert load_glb(encode_glb(MESHES["a factor"]())).corners == 1
