"""Every extension of the table: what becomes of an object that has it, optional and required."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.vitlens_core.rendering.glb_builder import (
    QUAD,
    QUAD_FACES,
    Glb,
    cube,
    floats,
    quad,
    solid,
    triangle,
)
from vitlens_core.errors import BadSampleError
from vitlens_core.rendering import load_glb, sample_surface
from vitlens_core.rendering.extensions import EXTENSIONS, Treatment

RED, BLUE = (255, 0, 0), (0, 0, 255)
BEFORE = sample_surface(load_glb(cube().pack()), 200, seed=0)


def _listed(glb: Glb, name: str, is_required: bool) -> bytes:
    glb.document["extensionsUsed"] = [name]
    if is_required:
        glb.document["extensionsRequired"] = [name]
    return glb.pack()


def _names(*treatments: Treatment) -> list[str]:
    return sorted(name for name, treatment in EXTENSIONS.items() if treatment in treatments)


def _everywhere(name: str) -> Glb:
    """A cube with an extension wherever one may stand."""
    glb = cube()
    document = glb.document
    places = [document, *document["nodes"], *document["meshes"], *document["materials"]]
    places += [*document["accessors"], *document["bufferViews"], *document["scenes"]]
    places += document["meshes"][0]["primitives"]
    for place in places:
        place.setdefault("extensions", {})[name] = {"variants": [], "mappings": [], "ids": []}
    return glb


@pytest.mark.parametrize("is_required", [False, True])
@pytest.mark.parametrize("name", [*_names(Treatment.HARMLESS), "MSFT_lod"])
def test_what_is_harmless_changes_nothing(name: str, is_required: bool) -> None:
    points = sample_surface(load_glb(_listed(_everywhere(name), name, is_required)), 200, seed=0)
    np.testing.assert_array_equal(points, BEFORE)


@pytest.mark.parametrize("name", [*_names(Treatment.FALLBACK), "ACME_unheard_of"])
def test_a_fallback_is_used_unless_the_extension_is_required(name: str) -> None:
    points = sample_surface(load_glb(_listed(_everywhere(name), name, False)), 200, seed=0)
    np.testing.assert_array_equal(points, BEFORE)
    with pytest.raises(BadSampleError, match=f"requires unsupported extensions: {name}"):
        load_glb(_listed(_everywhere(name), name, True))


@pytest.mark.parametrize("is_required", [False, True])
@pytest.mark.parametrize("name", _names(Treatment.REFUSED))
def test_what_leaves_nothing_to_show_is_refused_by_name(name: str, is_required: bool) -> None:
    with pytest.raises(BadSampleError, match=name):
        load_glb(_listed(_everywhere(name), name, is_required))


@pytest.mark.parametrize("name", _names(Treatment.REFUSED))
def test_it_is_refused_only_where_it_is_used(name: str) -> None:
    """Listed, as exporters do by habit, but on nothing that is shown."""
    load_glb(_listed(cube(), name, is_required=False))


def _webgl_material(**material: Any) -> bytes:
    extensions = {"KHR_techniques_webgl": {"technique": 0}}
    return cube(extensions=extensions, **material).pack()


def test_a_base_colour_beside_a_shader_is_shown() -> None:
    pbr = {"baseColorFactor": [1, 0, 0, 1]}
    points = sample_surface(load_glb(_webgl_material(pbrMetallicRoughness=pbr)), 20, seed=0)
    np.testing.assert_allclose(points[:, 3:], np.tile([1, 0, 0], (20, 1)), atol=1e-6)
    with pytest.raises(BadSampleError, match="KHR_techniques_webgl"):
        load_glb(_webgl_material())


STORED = ["EXT_texture_astc", "KHR_texture_basisu", "MPEG_texture_video", "MSFT_texture_dds"]


@pytest.mark.parametrize("name", STORED)
def test_an_image_that_is_not_read_has_its_fallback_or_is_named(name: str) -> None:
    glb = quad(texture=solid(*RED))
    other = glb.add("images", bufferView=glb.add_view(b"\xabKTX 20\xbb\r\n\x1a\n" + bytes(64)))
    glb.document["textures"][0]["extensions"] = {name: {"source": other}}
    colours = sample_surface(load_glb(glb.pack()), 20, seed=0)[:, 3:]
    np.testing.assert_allclose(colours, np.tile([1, 0, 0], (20, 1)), atol=1e-6)
    del glb.document["textures"][0]["source"]
    with pytest.raises(BadSampleError, match=name):
        load_glb(glb.pack())


@pytest.mark.parametrize("kind", ["webp", "avif"])
def test_better_images_are_read_in_place_of_the_fallback(kind: str) -> None:
    glb = quad(texture=solid(*RED))
    stream = io.BytesIO()
    Image.fromarray(solid(*BLUE)[..., :3]).save(stream, kind, quality=100)
    other = glb.add("images", bufferView=glb.add_view(stream.getvalue()))
    glb.document["textures"][0]["extensions"] = {f"EXT_texture_{kind}": {"source": other}}
    colours = sample_surface(load_glb(glb.pack()), 20, seed=0)[:, 3:]
    np.testing.assert_allclose(colours, np.tile([0, 0, 1], (20, 1)), atol=0.01)


@pytest.mark.parametrize("name", ["EXT_meshopt_compression", "KHR_meshopt_compression"])
def test_packed_buffers_have_their_fallback_or_are_named(name: str) -> None:
    glb = cube()
    for view in glb.document["bufferViews"]:
        packed = {"buffer": 1, "byteLength": 9, "byteStride": 4, "count": 3, "mode": "ATTRIBUTES"}
        view["extensions"] = {name: packed}
    np.testing.assert_array_equal(sample_surface(load_glb(glb.pack()), 200, seed=0), BEFORE)
    for view in glb.document["bufferViews"]:
        view["buffer"] = 1
    placeholder = {"byteLength": 9999, "extensions": {name: {"fallback": True}}}
    glb.document["buffers"] = [{"byteLength": len(glb.binary)}, placeholder]
    with pytest.raises(BadSampleError, match=name):
        load_glb(glb.pack())


def _instanced(**attributes: np.ndarray) -> Glb:
    glb = triangle()
    named = {name: glb.add_accessor(values) for name, values in attributes.items()}
    glb.document["nodes"][0]["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": named}}
    return glb


def _extent(glb: Glb) -> list[list[float]]:
    return [side.round(5).tolist() for side in load_glb(glb.pack()).bounds()]


def test_instances_are_placed_before_their_node() -> None:
    half = np.sqrt(0.5)
    glb = _instanced(
        TRANSLATION=floats([[0, 0, 0], [5, 0, 0]]),
        ROTATION=floats([[0, 0, 0, 1], [0, 0, half, half]]),
        SCALE=floats([[1, 1, 1], [3, 2, 1]]),
    )
    glb.document["nodes"][0]["translation"] = [0, 0, 7]
    assert load_glb(glb.pack()).triangles == 2
    assert _extent(glb) == [[0, 0, 7], [5, 3, 7]]


@pytest.mark.parametrize(("dtype", "top"), [("int8", 127), ("int16", 32767)])
def test_instances_may_turn_by_integers(dtype: str, top: int) -> None:
    turn = np.array([[0, 0, top, 0]], dtype)  # by half a turn about z
    glb = _instanced(ROTATION=turn)
    glb.document["accessors"][-1]["normalized"] = True
    assert _extent(glb) == [[-1, -1, 0], [0, 0, 0]]


def test_instances_of_unequal_length_are_refused() -> None:
    glb = _instanced(TRANSLATION=floats([[0, 0, 0]]), SCALE=floats([[1, 1, 1]] * 2))
    with pytest.raises(BadSampleError, match=r"lengths \[1, 2\]"):
        load_glb(glb.pack())


def _two_nodes(**extensions: Any) -> Glb:
    """A triangle at x = 0 with extensions, and its child at x = 9."""
    glb = triangle()
    glb.document["nodes"] = [
        {"mesh": 0, "children": [1], "extensions": extensions},
        {"mesh": 0, "translation": [9, 0, 0]},
    ]
    return glb


def test_hidden_nodes_hide_their_children() -> None:
    glb = _two_nodes(KHR_node_visibility={"visible": False})
    with pytest.raises(BadSampleError, match="empty scene"):
        load_glb(glb.pack())
    assert load_glb(_two_nodes(KHR_node_visibility={"visible": True}).pack()).triangles == 2
    assert load_glb(_two_nodes(KHR_node_visibility={}).pack()).triangles == 2


@pytest.mark.parametrize("has_scene", [False, True])
def test_only_the_finest_level_of_detail_is_shown(has_scene: bool) -> None:
    glb = triangle()
    glb.document["nodes"] = [
        {"mesh": 0, "extensions": {"MSFT_lod": {"ids": [1]}}},
        {"mesh": 0, "translation": [9, 0, 0]},
    ]
    glb.document["scenes"] = [{"nodes": [0, 1]}]
    if not has_scene:
        del glb.document["scenes"]
    assert _extent(glb) == [[0, 0, 0], [1, 1, 0]]


def test_the_default_variant_is_the_primitives_own_material() -> None:
    glb = quad({"pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 1]}})
    glb.add("materials", pbrMetallicRoughness={"baseColorFactor": [0, 0, 1, 1]})
    mappings = [{"material": 1, "variants": [0]}]
    primitive = glb.document["meshes"][0]["primitives"][0]
    primitive["extensions"] = {"KHR_materials_variants": {"mappings": mappings}}
    colours = sample_surface(load_glb(glb.pack()), 20, seed=0)[:, 3:]
    np.testing.assert_allclose(colours, np.tile([1, 0, 0], (20, 1)), atol=1e-6)


def _splats(**extra: Any) -> Glb:
    glb = Glb()
    dc = "KHR_gaussian_splatting:SH_DEGREE_0_COEF_0"
    values = floats([[0.5 / 0.28209479, -0.5 / 0.28209479, 0]] * 3)
    mesh = glb.add_mesh(mode=0, others={dc: values})
    extension = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display", **extra}
    primitive = glb.document["meshes"][mesh]["primitives"][0]
    primitive["extensions"] = {"KHR_gaussian_splatting": extension}
    return glb.show(mesh)


def test_splats_are_points_of_their_mean_colour() -> None:
    points = sample_surface(load_glb(_splats().pack()), 3, seed=0)
    np.testing.assert_allclose(points[:, 3:], np.tile([1, 0, 0.5], (3, 1)), atol=1e-5)
    linear = sample_surface(load_glb(_splats(colorSpace="lin_rec709_display").pack()), 3, seed=0)
    np.testing.assert_allclose(linear[:, 5], 0.735, atol=1e-3)


RESTARTS: dict[str, Callable[[int], tuple[int, list[int], int]]] = {
    "strip": lambda end: (5, [0, 1, 2, end, 1, 3, 2], 2),
    "fan": lambda end: (6, [0, 1, 2, end, 0, 2, 3], 2),
    "line-strip": lambda end: (3, [0, 1, end, 2, 3, 0], 3),
    "loop": lambda end: (2, [0, 1, 2, end, 1, 2, 3], 6),
}


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("kind", RESTARTS)
def test_the_largest_index_starts_a_strip_anew(kind: str, bits: int) -> None:
    dtype = f"uint{bits}"
    mode, indices, faces = RESTARTS[kind](2**bits - 1)
    glb = Glb()
    glb.show(glb.add_mesh(QUAD, np.array(indices, dtype), mode=mode))
    assert len(load_glb(glb.pack()).parts[0].faces) == faces


def test_in_a_list_of_triangles_the_largest_index_is_out_of_range() -> None:
    glb = Glb()
    indices = np.append(QUAD_FACES[:5], np.uint16(65535))
    glb.show(glb.add_mesh(QUAD, indices))
    with pytest.raises(BadSampleError, match="of 4"):
        load_glb(glb.pack())
