"""What a valid GLB means: placement, instancing, triangle modes, quantisation, morphs, skins."""

import sys

import numpy as np
import pytest

from tests.vitlens_core.rendering.glb_builder import (
    QUAD,
    QUAD_FACES,
    TRIANGLE,
    Glb,
    draco_quad,
    floats,
    quad,
    solid,
    triangle,
)
from vitlens_core.errors import BadSampleError
from vitlens_core.rendering import Mesh, load_glb

QUARTER_TURN_ABOUT_Z = [0.0, 0.0, np.sin(np.pi / 4), np.cos(np.pi / 4)]


def _load(glb: Glb) -> Mesh:
    return load_glb(glb.pack())


def test_translation_rotation_and_scale_apply_in_gltf_order() -> None:
    glb = Glb()
    glb.show(glb.add_mesh(), translation=[10, 0, 0], rotation=QUARTER_TURN_ABOUT_Z, scale=[2, 3, 1])
    expected = [[10, 0, 0], [10, 2, 0], [7, 0, 0]]
    np.testing.assert_allclose(_load(glb).parts[0].positions, expected, atol=1e-6)


def test_a_matrix_is_column_major_and_children_inherit_it() -> None:
    glb = Glb()
    mesh = glb.add_mesh()
    matrix = np.eye(4)
    matrix[:3, 3] = [1, 2, 3]
    glb.document["nodes"] = [
        {"matrix": matrix.T.ravel().tolist(), "children": [1]},
        {"mesh": mesh, "translation": [0, 0, 1]},
    ]
    glb.document["scenes"] = [{"nodes": [0]}]
    np.testing.assert_allclose(_load(glb).parts[0].positions, TRIANGLE + np.array([1, 2, 4]))


def test_normals_stay_perpendicular_under_uneven_and_mirroring_scale() -> None:
    slope = np.array([[0, 0, 0], [1, 0, 1], [0, 1, 0]], np.float32)
    normal = np.tile(floats([-1, 0, 1]) / np.sqrt(np.float32(2)), (3, 1))
    glb = Glb()
    glb.show(glb.add_mesh(slope, NORMAL=normal), scale=[-4, 1, 1])
    part = _load(glb).parts[0]
    edge = part.positions[1] - part.positions[0]
    np.testing.assert_allclose(part.normals @ edge, 0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(part.normals, axis=1), 1, rtol=1e-5)
    assert (part.normals[:, 2] > 0).all()


def test_a_very_deep_hierarchy_is_walked_without_recursion() -> None:
    glb = Glb()
    mesh = glb.add_mesh()
    depth = 5_000
    glb.document["nodes"] = [
        {"children": [k + 1], "translation": [0, 0, 0.001]} for k in range(depth)
    ] + [{"mesh": mesh}]
    glb.document["scenes"] = [{"nodes": [0]}]
    np.testing.assert_allclose(_load(glb).parts[0].positions[:, 2], 5.0, rtol=1e-5)


def test_without_scenes_every_root_is_shown() -> None:
    glb = triangle()
    del glb.document["scenes"]
    assert _load(glb).triangles == 1


def test_instances_and_meshes_of_one_material_become_one_part() -> None:
    glb = quad(texture=solid(255, 0, 0))
    glb.show(0, translation=[5, 0, 0])
    mesh = _load(glb)
    assert len(mesh.parts) == 1
    assert mesh.triangles == 4
    assert mesh.parts[0].faces.max() == 7
    assert mesh.bounds()[1][0] == pytest.approx(6)


@pytest.mark.parametrize(
    ("mode", "faces"),
    [(4, [[0, 1, 2]]), (5, [[0, 1, 2], [1, 3, 2]]), (6, [[0, 1, 2], [0, 2, 3]])],
    ids=["triangles", "strip", "fan"],
)
def test_triangle_modes(mode: int, faces: list[list[int]]) -> None:
    glb = Glb()
    glb.show(glb.add_mesh(QUAD, mode=mode))
    np.testing.assert_array_equal(_load(glb).parts[0].faces, faces)


def test_lines_beside_triangles_are_left_out() -> None:
    glb = triangle()
    glb.show(glb.add_mesh(TRIANGLE + 50, mode=1))
    assert _load(glb).bounds()[1].max() == 1


def test_quantised_positions_match_their_float_original() -> None:
    """KHR_mesh_quantization: integer positions, scaled back by the node."""
    quantised = np.round(QUAD * 100).astype(np.int16)
    glb = Glb()
    glb.document["extensionsRequired"] = ["KHR_mesh_quantization"]
    glb.show(glb.add_mesh(quantised, QUAD_FACES), scale=[0.01] * 3)
    np.testing.assert_allclose(_load(glb).parts[0].positions, QUAD, atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "stored", "expected"),
    [
        (np.int8, [-128, -127, 127], [-1, -1, 1]),
        (np.uint8, [0, 51, 255], [0, 0.2, 1]),
        (np.int16, [-32768, 0, 32767], [-1, 0, 1]),
        (np.uint16, [0, 13107, 65535], [0, 0.2, 1]),
    ],
)
def test_normalised_integers(dtype: type, stored: list[int], expected: list[float]) -> None:
    glb = Glb()
    values = np.array([[value, 0, 0] for value in stored], dtype)
    values[1, 1] = 1  # keeps the triangle from being flat
    glb.show(glb.add_mesh(values))
    glb.document["accessors"][0]["normalized"] = True
    np.testing.assert_allclose(_load(glb).parts[0].positions[:, 0], expected, atol=1e-6)


def test_interleaved_vertices_are_read_by_their_stride() -> None:
    interleaved = np.hstack([QUAD, QUAD * 0 + [0, 0, 1]]).astype(np.float32)
    glb = Glb()
    view = glb.add_view(interleaved.tobytes(), byteStride=24)
    said = {"bufferView": view, "componentType": 5126, "count": 4, "type": "VEC3"}
    attributes = {
        "POSITION": glb.add("accessors", **said),
        "NORMAL": glb.add("accessors", **said, byteOffset=12),
    }
    primitive = {"attributes": attributes, "indices": glb.add_accessor(QUAD_FACES)}
    glb.show(glb.add("meshes", primitives=[primitive]))
    part = _load(glb).parts[0]
    np.testing.assert_array_equal(part.positions, QUAD)
    np.testing.assert_array_equal(part.normals, QUAD * 0 + [0, 0, 1])


def test_sparse_values_replace_the_base() -> None:
    glb = triangle()
    glb.document["accessors"][0]["sparse"] = {
        "count": 1,
        "indices": {"bufferView": glb.add_view(b"\2\0\0\0"), "componentType": 5121},
        "values": {"bufferView": glb.add_view(floats([7, 8, 9]).tobytes())},
    }
    np.testing.assert_array_equal(_load(glb).parts[0].positions[2], [7, 8, 9])


def test_morph_targets_are_applied_at_their_default_weights() -> None:
    glb = triangle()
    offsets = floats([[0, 0, 4]] * 3)
    mesh = glb.document["meshes"][0]
    mesh["primitives"][0]["targets"] = [{"POSITION": glb.add_accessor(offsets)}]
    mesh["weights"] = [0.5]
    np.testing.assert_allclose(_load(glb).parts[0].positions[:, 2], 2)


def test_a_skinned_mesh_follows_its_joints_and_not_its_node() -> None:
    glb = Glb()
    joints = np.tile(np.array([0, 1, 0, 0], np.uint8), (3, 1))
    weights = floats([[1, 0, 0, 0], [0, 1, 0, 0], [0.5, 0.5, 0, 0]])
    mesh = glb.add_mesh(JOINTS_0=joints, WEIGHTS_0=weights)
    inverse = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    inverse[1, 0, 3] = -1  # the second joint was bound at x = 1
    skin = glb.add(
        "skins",
        joints=[1, 2],
        inverseBindMatrices=glb.add_accessor(inverse.transpose(0, 2, 1).reshape(2, 16)),
    )
    glb.show(mesh, skin=skin, translation=[100, 100, 100])
    glb.document["nodes"] += [{"translation": [0, 5, 0]}, {"translation": [1, 9, 0]}]
    glb.document["scenes"][0]["nodes"] += [1, 2]
    expected = [[0, 5, 0], [1, 9, 0], [0, 8, 0]]
    np.testing.assert_allclose(_load(glb).parts[0].positions, expected, atol=1e-6)


def test_a_joint_beyond_the_skin_is_refused() -> None:
    glb = Glb()
    weights = floats([[1, 0, 0, 0]] * 3)
    mesh = glb.add_mesh(JOINTS_0=np.array([[3, 0, 0, 0]] * 3, np.uint8), WEIGHTS_0=weights)
    glb.show(mesh, skin=glb.add("skins", joints=[0]))
    with pytest.raises(BadSampleError, match="joint"):
        _load(glb)


def test_draco_compressed_meshes_are_read() -> None:
    mesh = _load(draco_quad())
    assert mesh.triangles == 2
    np.testing.assert_allclose(mesh.bounds(), [[-1, -1, 0], [1, 1, 0]], atol=1e-3)


def test_a_broken_draco_stream_is_refused() -> None:
    glb = draco_quad()
    glb.binary[:5] = b"nope!"
    with pytest.raises(BadSampleError, match="broken Draco stream"):
        _load(glb)


def test_draco_without_its_package_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    glb = draco_quad()
    monkeypatch.setitem(sys.modules, "DracoPy", None)
    with pytest.raises(BadSampleError, match="pip install DracoPy"):
        _load(glb)
