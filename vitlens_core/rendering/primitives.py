"""Decodes glTF primitives to vertex arrays and triangles in the mesh's own space.

Source: glTF 2.0 specification, chapter 3.7.2.
"""

from dataclasses import dataclass

import numpy as np

from vitlens_core.errors import BadSampleError
from vitlens_core.rendering import schema
from vitlens_core.rendering.attributes import Attributes, PlainAttributes
from vitlens_core.rendering.draco import DracoAttributes
from vitlens_core.rendering.glb import Binary
from vitlens_core.rendering.materials import UvSource

_TRIANGLES, _STRIP, _FAN = 4, 5, 6


@dataclass(frozen=True, eq=False)
class Primitive:
    """Vertices and triangles before they are placed in the world.

    Attributes:
        positions: [P, 3] float32.
        normals: [P, 3] float32; zero if none is stored.
        uv: [P, 2] float32.
        colours: [P, 4] float32, linear.
        faces: [F, 3] uint32.
        skin: joints and weights [P, J], or None.
    """

    positions: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    colours: np.ndarray
    faces: np.ndarray
    skin: tuple[np.ndarray, np.ndarray] | None


def read_primitive(
    source: schema.Primitive, uv_source: UvSource, morph: list[float], binary: Binary
) -> Primitive | None:
    """Decode one primitive; points, lines and primitives without triangles give None.

    Raises:
        BadSampleError: no positions, arrays of unequal length, indices out of range, or NaN.
    """
    # Modes below are points and lines.
    if source.mode < _TRIANGLES:
        return None
    draco = source.extensions.draco
    plain = PlainAttributes(source, binary)
    attributes: Attributes = plain if draco is None else DracoAttributes(draco, plain, binary)
    positions = attributes.get("POSITION", (3,))
    if positions is None:
        raise BadSampleError("a primitive has no positions")
    # Draco streams hold triangles, whatever mode the primitive has.
    mode = source.mode if draco is None else _TRIANGLES
    faces = _faces(mode, attributes.corners(len(positions)), len(positions))
    if not len(faces):
        return None
    positions = _morphed(positions, "POSITION", source.targets, morph, binary)
    if not np.isfinite(positions).all():
        raise BadSampleError("positions are not finite (NaN or infinity)")
    primitive = Primitive(
        positions=positions,
        normals=_normals(attributes, source.targets, morph, binary, positions),
        uv=_uv(attributes.get(f"TEXCOORD_{uv_source.texcoord}", (2,)), uv_source, len(positions)),
        colours=_colours(attributes.get("COLOR_0", (3, 4)), len(positions)),
        faces=faces,
        skin=_skin(attributes),
    )
    _check_lengths(primitive)
    return primitive


def _check_lengths(primitive: Primitive) -> None:
    vertices = len(primitive.positions)
    arrays = [primitive.normals, primitive.uv, primitive.colours, *(primitive.skin or ())]
    for array in arrays:
        if len(array) != vertices:
            raise BadSampleError(f"vertex attributes of unequal length: {len(array)}, {vertices}")


def _faces(mode: int, corners: np.ndarray, vertices: int) -> np.ndarray:
    """List triangles [F, 3]; their winding is ignored, since both sides of a surface are shown."""
    if len(corners) and int(corners.max()) >= vertices:
        raise BadSampleError(f"index out of range: vertex {corners.max()} of {vertices}")
    if mode == _TRIANGLES:  # corners of an incomplete one are dropped
        return corners[: len(corners) // 3 * 3].reshape(-1, 3)
    if mode == _STRIP:
        return np.stack([corners[:-2], corners[1:-1], corners[2:]], axis=1)
    first = np.broadcast_to(corners[:1], corners[2:].shape)
    return np.stack([first, corners[1:-1], corners[2:]], axis=1)


def _morphed(
    base: np.ndarray,
    name: str,
    targets: list[dict[str, int]],
    weights: list[float],
    binary: Binary,
) -> np.ndarray:
    """Add the weighted displacements of the rest pose to `base`."""
    for target, weight in zip(targets, weights, strict=False):
        if weight and name in target:
            offsets = binary.floats(target[name], (3,))
            if len(offsets) != len(base):
                raise BadSampleError(f"morph target of {len(offsets)} vertices on {len(base)}")
            base = base + np.float32(weight) * offsets
    return base


def _normals(
    attributes: Attributes,
    targets: list[dict[str, int]],
    weights: list[float],
    binary: Binary,
    positions: np.ndarray,
) -> np.ndarray:
    normals = attributes.get("NORMAL", (3,))
    if normals is None:
        return np.zeros_like(positions)
    normals = _morphed(normals, "NORMAL", targets, weights, binary)
    # A broken normal is no reason to refuse an object: zero takes the face's instead.
    return np.where(np.isfinite(normals).all(axis=1, keepdims=True), normals, np.float32(0))


def _uv(uv: np.ndarray | None, source: UvSource, vertices: int) -> np.ndarray:
    if uv is None:
        return np.zeros((vertices, 2), np.float32)
    # Broken coordinates, or a broken transform, exceed float32; they become 0 below.
    with np.errstate(over="ignore", invalid="ignore"):
        moved = (uv @ source.matrix[:, :2].T + source.matrix[:, 2]).astype(np.float32)
    return np.nan_to_num(moved, nan=0, posinf=0, neginf=0)


def _colours(colours: np.ndarray | None, vertices: int) -> np.ndarray:
    if colours is None:
        return np.ones((vertices, 4), np.float32)
    rgba = np.ones((len(colours), 4), np.float32)
    rgba[:, : colours.shape[1]] = np.clip(np.nan_to_num(colours), 0, 1)
    return rgba


def _skin(attributes: Attributes) -> tuple[np.ndarray, np.ndarray] | None:
    """Read all JOINTS_n and WEIGHTS_n, side by side: [P, J] each."""
    joints, weights = [], []
    for n in range(8):
        some_joints = attributes.get(f"JOINTS_{n}", (4,))
        some_weights = attributes.get(f"WEIGHTS_{n}", (4,))
        if some_joints is None or some_weights is None:
            break
        joints.append(some_joints.astype(np.int64))
        weights.append(some_weights)
    return (np.hstack(joints), np.hstack(weights)) if joints else None
