"""Decodes glTF primitives to vertex arrays and faces in the mesh's own space.

Source: glTF 2.0 specification, chapter 3.7.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitlens_core.errors import BadSampleError
from vitlens_core.rendering import schema
from vitlens_core.rendering.attributes import Attributes, PlainAttributes
from vitlens_core.rendering.colour import srgb_to_linear
from vitlens_core.rendering.draco import DracoAttributes
from vitlens_core.rendering.extensions import check_used
from vitlens_core.rendering.faces import TRIANGLES, list_faces
from vitlens_core.rendering.glb import Binary
from vitlens_core.rendering.materials import UvSource

_SPLAT_COLOUR = "KHR_gaussian_splatting:SH_DEGREE_0_COEF_0"
_SH_0 = 0.5 / np.sqrt(np.pi)  # the spherical harmonic of degree 0


@dataclass(frozen=True, eq=False)
class Primitive:
    """Vertices and faces before they are placed in the world.

    Attributes:
        positions: [P, 3] float32.
        normals: [P, 3] float32; zero if none is stored.
        uv: [U, P, 2] float32, one row per source of the material.
        colours: [P, 4] float32, linear.
        faces: [F, K] uint32: triangles, segments or points.
        skin: joints and weights [P, J], or None.
    """

    positions: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    colours: np.ndarray
    faces: np.ndarray
    skin: tuple[np.ndarray, np.ndarray] | None


def read_primitive(
    source: schema.Primitive, uv_sources: Sequence[UvSource], morph: Sequence[float], binary: Binary
) -> Primitive | None:
    """Decode one primitive; one without faces gives None.

    Raises:
        BadSampleError: no positions, arrays of unequal length, indices out of range, or NaN.
    """
    check_used(source.extensions.unread, "a primitive")
    draco = source.extensions.draco
    plain = PlainAttributes(source, binary)
    attributes: Attributes = plain if draco is None else DracoAttributes(draco, plain, binary)
    positions = attributes.get("POSITION", (3,))
    if positions is None:
        raise BadSampleError("a primitive has no positions; expected an attribute POSITION")
    # Draco streams hold triangles, whatever mode the primitive has.
    mode = source.mode if draco is None else TRIANGLES
    faces = list_faces(mode, attributes.corners(len(positions)), len(positions))
    if not len(faces):
        return None
    positions = _morphed(positions, "POSITION", source.targets, morph, binary)
    if not np.isfinite(positions).all():
        raise BadSampleError("positions are not finite (NaN or infinity)")
    primitive = Primitive(
        positions=positions,
        normals=_normals(attributes, source.targets, morph, binary, positions),
        uv=_uv(attributes, uv_sources, len(positions)),
        colours=_colours(attributes, source.extensions.splats, len(positions)),
        faces=faces,
        skin=_skin(attributes),
    )
    _check_lengths(primitive)
    return primitive


def _check_lengths(primitive: Primitive) -> None:
    vertices = len(primitive.positions)
    arrays = [primitive.normals, *primitive.uv, primitive.colours, *(primitive.skin or ())]
    for array in arrays:
        if len(array) != vertices:
            raise BadSampleError(f"vertex attributes of unequal length: {len(array)}, {vertices}")


def _morphed(
    base: np.ndarray,
    name: str,
    targets: Sequence[dict[str, int]],
    weights: Sequence[float],
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
    targets: Sequence[dict[str, int]],
    weights: Sequence[float],
    binary: Binary,
    positions: np.ndarray,
) -> np.ndarray:
    normals = attributes.get("NORMAL", (3,))
    if normals is None:
        return np.zeros_like(positions)
    normals = _morphed(normals, "NORMAL", targets, weights, binary)
    # A broken normal is no reason to refuse an object: zero takes the face's instead.
    return np.where(np.isfinite(normals).all(axis=1, keepdims=True), normals, np.float32(0))


def _uv(attributes: Attributes, sources: Sequence[UvSource], vertices: int) -> np.ndarray:
    """Read the texture coordinates of every source, [U, P, 2]."""
    rows = []
    for source in sources:
        uv = attributes.get(f"TEXCOORD_{source.texcoord}", (2,))
        if uv is None:
            rows.append(np.zeros((vertices, 2), np.float32))
            continue
        if len(uv) != vertices:
            raise BadSampleError(f"vertex attributes of unequal length: {len(uv)}, {vertices}")
        # Broken coordinates, or a broken transform, exceed float32; they become 0.
        with np.errstate(over="ignore", invalid="ignore"):
            moved = (uv @ source.matrix[:, :2].T + source.matrix[:, 2]).astype(np.float32)
        rows.append(np.nan_to_num(moved, nan=0, posinf=0, neginf=0))
    return np.stack(rows)


def _colours(
    attributes: Attributes, splats: schema.GaussianSplatting | None, vertices: int
) -> np.ndarray:
    """Read linear vertex colours [P, 4]; white where there are none."""
    # Integers are 0..1 by the specification; some files do not say so.
    colours = attributes.get("COLOR_0", (3, 4), is_unit=True)
    if colours is None and splats is not None:
        colours = _splat_colours(attributes, splats)
    if colours is None:
        return np.ones((vertices, 4), np.float32)
    rgba = np.ones((len(colours), 4), np.float32)
    rgba[:, : colours.shape[1]] = np.clip(np.nan_to_num(colours), 0, 1)
    return rgba


def _splat_colours(attributes: Attributes, splats: schema.GaussianSplatting) -> np.ndarray | None:
    """Compute the colours [P, 3] that splats have from all sides in the mean."""
    coefficients = attributes.get(_SPLAT_COLOUR, (3,))
    if coefficients is None:
        return None
    colours = np.clip(0.5 + _SH_0 * coefficients, 0, 1)
    return colours if splats.color_space.startswith("lin") else srgb_to_linear(colours)


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
