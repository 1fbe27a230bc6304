"""Objects of any format become GLB with y up, in metres, with their colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.pipelines import mesh_files
from tests.pipelines.mesh_files import COLOURED, ENDINGS, OWN_UNIT_M, OWN_UP
from vitlens_core import notes
from vitlens_core.errors import InputError
from vitlens_core.readers.object_reader import ObjectReader
from vitlens_core.readers.objects import read_object
from vitlens_core.readers.placing import Placing, Up, turned
from vitlens_core.rendering import load_glb, normalise, sample_surface
from vitlens_core.sandbox import Limits

AS_STATED = Placing()


def _sides_m(glb: bytes) -> np.ndarray:
    low, high = load_glb(glb).bounds()
    return high - low


def _colour(glb: bytes) -> np.ndarray:
    """The mean colour [3] of the surface, sRGB 0..255."""
    return sample_surface(normalise(load_glb(glb))[0], 200, seed=0)[:, 3:].mean(0) * 255


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_longest_side_points_up_and_has_its_length(tmp_path: Path, ending: str) -> None:
    path = mesh_files.write(tmp_path, "box", ending, OWN_UP[ending])
    sides = _sides_m(read_object(path, AS_STATED))
    assert sides[1] == pytest.approx(3 * OWN_UNIT_M[ending], rel=1e-5)
    assert sorted(sides) == pytest.approx(np.array([1, 2, 3]) * OWN_UNIT_M[ending], rel=1e-5)


@pytest.mark.parametrize("ending", COLOURED)
def test_colours_come_with_it(tmp_path: Path, ending: str) -> None:
    path = mesh_files.write(tmp_path, "box", ending)
    # STEP keeps fractions in single precision, textures and bytes are exact.
    assert _colour(read_object(path, AS_STATED)) == pytest.approx(mesh_files.RED, abs=1.5)


@pytest.mark.parametrize("ending", [e for e in ENDINGS if e not in COLOURED])
def test_a_surface_without_colours_is_white_and_says_so(tmp_path: Path, ending: str) -> None:
    path = mesh_files.write(tmp_path, "box", ending)
    with notes.collected() as found:
        glb = read_object(path, AS_STATED)
    assert _colour(glb) == pytest.approx(255)
    assert any("no colours" in note for note in found)


@pytest.mark.parametrize("up", ["x", "y", "z", "-x", "-y", "-z"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_stated_axis_is_turned_upwards(tmp_path: Path, ending: str, up: Up) -> None:
    path = mesh_files.write(tmp_path, "box", ending, up)
    mesh = load_glb(read_object(path, Placing(up=up)))
    low, high = mesh.bounds()
    assert np.argmax(high - low) == 1
    # The box begins at 0: what pointed down is below 0 when the other end is turned up.
    tops = high if not up.startswith("-") else -low
    assert tops[1] == pytest.approx((high - low)[1], rel=1e-5)


@pytest.mark.parametrize("ending", [".obj", ".ply", ".stl", ".off"])
def test_a_stated_unit_scales_formats_without_one(tmp_path: Path, ending: str) -> None:
    path = mesh_files.write(tmp_path, "box", ending)
    assert _sides_m(read_object(path, Placing(unit_m=0.01)))[1] == pytest.approx(0.03)


def test_a_glb_that_stands_upright_keeps_its_bytes(tmp_path: Path) -> None:
    path = mesh_files.write(tmp_path, "box", ".glb")
    assert read_object(path, AS_STATED) == path.read_bytes()


def test_far_from_the_origin_no_digit_is_lost(tmp_path: Path) -> None:
    path = mesh_files.write(tmp_path, "box", ".ply")
    lines = path.read_text().splitlines()
    start = lines.index("end_header") + 1
    for number in range(start, start + 8):
        x, *rest = lines[number].split()
        lines[number] = " ".join([str(float(x) + 5e6), *rest])
    path.write_text("\n".join(lines).replace("property float", "property double") + "\n")
    assert _sides_m(read_object(path, AS_STATED)) == pytest.approx([1, 3, 2], abs=1e-6)


def test_textures_lie_in_the_folder_that_is_named_and_no_other(tmp_path: Path) -> None:
    path = mesh_files.write(tmp_path / "model" / "models", "box", ".obj")
    (tmp_path / "model" / "images").mkdir()
    (path.parent / "box-paint.png").rename(tmp_path / "model" / "images" / "paint.png")
    path.with_suffix(".mtl").write_text("newmtl paint\nKd 1 1 1\nmap_Kd ../images/paint.png\n")
    glb = read_object(path, AS_STATED, folder=tmp_path / "model")
    assert _colour(glb) == pytest.approx(mesh_files.RED, abs=1.5)
    with notes.collected() as found:
        assert _colour(read_object(path, AS_STATED)) == pytest.approx(255)
    assert any("paint.png is missing" in note for note in found)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("chair.fbx", b"Kaydara FBX Binary  \0", "found FBX"),
        ("chair.wrl", b"#VRML V2.0 utf8\n", "found VRML"),
        ("chair.glb", b"<!DOCTYPE html><html></html>", "found HTML"),
        ("chair.step", b"ISO-10303-21;\nDATA;\n#1=nothing", "no shape"),
        ("chair.dae", b"<COLLADA><asset/></COLLADA>", "COLLADA"),
        ("chair.3mf", b"PK\x03\x04 and no more", "3MF"),
        ("chair.obj", b"v 0 0 0\nv 1 0 0\n", "no triangle"),
        ("chair.gltf", b'{"asset":{"version":"2.0"},"buffers":[{"uri":"../a.bin"}]}', "outside"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=told):
        read_object(path, AS_STATED)


@pytest.mark.slow
@pytest.mark.parametrize("scratch", [False, True])
def test_a_child_without_rights_reads_as_this_process(tmp_path: Path, scratch: bool) -> None:
    """Of all formats but STEP, whose library writes files: it needs the folder to write in."""
    reader = ObjectReader(tmp_path, AS_STATED, Limits(), scratch=scratch)
    try:
        for ending in ENDINGS if scratch else [e for e in ENDINGS if e != ".step"]:
            path = mesh_files.write(tmp_path, f"box-{ending[1:]}", ending)
            assert reader.read(path, tmp_path) == read_object(path, AS_STATED)
    finally:
        reader.close()


@pytest.mark.parametrize("up", ["x", "y", "z", "-x", "-y", "-z"])
def test_an_object_is_turned_and_never_mirrored(up: Up) -> None:
    assert np.linalg.det(turned(up)) == pytest.approx(1)
