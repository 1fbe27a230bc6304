"""Objects in any common format, brought to one: GLB with y up, in metres.

Reads     GLB, glTF, OBJ, PLY, STL, OFF, COLLADA, 3MF and STEP, with their colours; files beside an
          object (materials, textures, buffers) are read from the folder that is named alone.
Promises  a GLB whose axes need no turn keeps its bytes; of a glTF nothing is lost.
"""

from __future__ import annotations

import math
import re
import zipfile
from pathlib import Path

from vitlens_core.errors import BadSampleError, InputError
from vitlens_core.notes import note
from vitlens_core.readers import off, ply
from vitlens_core.readers.files import optional, unreadable
from vitlens_core.readers.formats import (
    DAE,
    GLB,
    GLTF,
    OBJECTS,
    OFF,
    PLY,
    STEP,
    THREE_MF,
    Format,
    identify,
)
from vitlens_core.readers.meshes import load_mesh
from vitlens_core.readers.placing import Placing, Up, turned
from vitlens_core.rendering import FilesBeside, Mesh
from vitlens_core.rendering.packing import encode_glb, pack_gltf, with_root

# Metres of the units that 3MF knows; without one it is a millimetre.
_UNITS_OF_3MF = {
    "micron": 1e-6,
    "millimeter": 1e-3,
    "centimeter": 1e-2,
    "inch": 0.0254,
    "foot": 0.3048,
    "meter": 1.0,
}
_HEAD_BYTES = 1 << 16
# Largest distance of a triangle from a STEP's surface, as a share of the edge that it spans, and
# the largest angle between neighbours [rad].
_STEP_DISTANCE, _STEP_ANGLE = 0.01, 0.5


def read_object(path: Path, placing: Placing, folder: Path | None = None) -> bytes:
    """Read an object as GLB with y up, in metres.

    Args:
        folder: the folder of the files that belong to the object; by default the one it lies in.

    Raises:
        InputError: the file is of another format, damaged, or has no surface.
    """
    path, content = identify(path, OBJECTS, "an object")
    folder = folder or path.parent
    try:
        glb, up, unit_m = _converted(path, content, placing, folder)
        return with_root(glb, turned(placing.up or up, unit_m))
    except BadSampleError as error:
        raise InputError(f"{path.name} has no surface: {error}") from error


def _converted(
    path: Path, content: Format, placing: Placing, folder: Path
) -> tuple[bytes, Up, float]:
    """Return a GLB in the file's own coordinates, its axis that points up, and its unit [m]."""
    if content is GLB:
        return path.read_bytes(), "y", 1.0
    if content is GLTF:
        return pack_gltf(path.read_bytes(), FilesBeside(path.parent)), "y", 1.0
    if content is STEP:
        return _of_step(path), "z", 1.0
    if content is DAE:
        optional("collada", "meshes")  # trimesh reads with it
    if content is THREE_MF:
        optional("lxml", "meshes")
        optional("networkx", "meshes")
    mesh, coloured = _mesh(path, content, folder)
    if not coloured:
        note("the surface states no colours: it is white")
    if content is DAE:
        return encode_glb(mesh), *_stated_by_dae(path)
    if content is THREE_MF:
        return encode_glb(mesh), "z", _unit_of_3mf(path)
    return encode_glb(mesh), "y", placing.unit_m


def _mesh(path: Path, content: Format, folder: Path) -> tuple[Mesh, bool]:
    if content is PLY:
        found = ply.read(path)
        if found.mesh is None:
            raise InputError(f"{path.name} has points and no faces; expected a surface")
        return found.mesh, found.has_colours
    return off.read(path) if content is OFF else load_mesh(path, content, folder)


def _of_step(path: Path) -> bytes:
    """Tessellate a STEP through OpenCASCADE, which writes GLB in metres with the file's axes."""
    cascadio = optional("cascadio", "meshes")
    glb = cascadio.to_glb_bytes(
        path.read_bytes(),
        cascadio.FileType.STEP,
        tol_linear=_STEP_DISTANCE,
        tol_angular=_STEP_ANGLE,
        tol_relative=True,
        use_parallel=False,
    )
    if not glb:
        raise unreadable(path, "STEP with a surface", "OpenCASCADE found no shape in it")
    return glb


def _stated_by_dae(path: Path) -> tuple[Up, float]:
    head = path.read_bytes()[:_HEAD_BYTES].decode("utf-8", "replace")
    axis = re.search(r"<up_axis>\s*([XYZ])_UP", head)
    up: Up = {"X": "x", "Z": "z"}.get(axis[1], "y") if axis else "y"  # ty: ignore[invalid-assignment]
    unit = re.search(r"<unit\b[^>]*\bmeter\s*=\s*[\"']([^\"']+)", head)
    return up, _positive(unit[1] if unit else "1")


def _unit_of_3mf(path: Path) -> float:
    with zipfile.ZipFile(path) as archive:
        model = next(name for name in archive.namelist() if name.lower().endswith("3dmodel.model"))
        with archive.open(model) as file:
            head = file.read(_HEAD_BYTES).decode("utf-8", "replace")
    stated = re.search(r"<model\b[^>]*\bunit\s*=\s*[\"']([^\"']+)", head)
    return _UNITS_OF_3MF.get(stated[1] if stated else "millimeter", 1e-3)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise InputError(f"a unit of {text!r} metres; expected a positive number")
    return value
