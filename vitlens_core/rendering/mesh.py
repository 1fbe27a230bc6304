"""A renderable object: triangles, or else points or lines, with one material per part.

Promises: positions are finite, faces refer to existing vertices, the arrays of a part have one
length. Axes: P vertices, F faces, K corners of a face, U sets of texture coordinates. Colours of
vertices and factors are linear light, texels are sRGB. World space is right-handed with y up
(glTF).
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from vitlens_core.errors import BadSampleError

STAGE_SIDE_M = 0.8
"""Longest side of a normalised object; the stage is a unit cube, 1 stage unit is 1 m."""

# Fainter glass has neither depth nor points: what is behind it is seen instead.
_BLEND_VISIBLE_FROM = 0.05


@dataclass(frozen=True, eq=False)
class Texture:
    """An image [H, W, 4] uint8, sRGB with straight alpha; row 0 is v = 0.

    `repeat` says for u and v whether the image repeats; otherwise its edge continues. `nearest`
    says that texels are shown as blocks, not blended.
    """

    texels: np.ndarray
    repeat: tuple[bool, bool] = (True, True)
    nearest: bool = False


@dataclass(frozen=True, eq=False)
class Layer:
    """texture × factor, in linear light; `uv` is a row of the part's texture coordinates."""

    texture: Texture | None = None
    factor: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    uv: int = 0


@dataclass(frozen=True, eq=False)
class Material:
    """What a surface looks like; `surface` says how its layers make one colour.

    Attributes:
        base: base or diffuse colour and alpha, which the vertex colour multiplies.
        specular: colour of reflections, of materials that state it instead of a metallic share.
        emission: light that the surface emits.
        alpha_cutoff: smallest visible alpha of MASK.
        unlit: shown as it is, whatever light there is.
        double_sided: whether the back of a triangle is seen.
    """

    base: Layer = Layer()
    specular: Layer | None = None
    emission: Layer | None = None
    alpha_mode: Literal["OPAQUE", "MASK", "BLEND"] = "OPAQUE"
    alpha_cutoff: float = 0.5
    unlit: bool = False
    double_sided: bool = False

    @property
    def visible_from(self) -> float:
        """The smallest alpha at which the surface counts for depth and for point sampling."""
        return {"OPAQUE": 0.0, "MASK": self.alpha_cutoff, "BLEND": _BLEND_VISIBLE_FROM}[
            self.alpha_mode
        ]


@dataclass(frozen=True, eq=False)
class Part:
    """Faces that share a material; their front is where the corners run counter-clockwise.

    positions [P, 3] (float64 as loaded, float32 on the stage), normals [P, 3] float32 (a zero
    normal means: use the face's), uv [U, P, 2] float32 with texture transforms applied, colours
    [P, 4] float32 linear, faces [F, K] uint32 with K = 3 for triangles, 2 for lines, 1 for points.
    """

    positions: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    colours: np.ndarray
    faces: np.ndarray
    material: Material


@dataclass(frozen=True, eq=False)
class Mesh:
    """One object; at most one part per material, all of one K."""

    parts: tuple[Part, ...]

    @property
    def corners(self) -> int:
        """Corners of each face: 3 of a surface, 2 of lines, 1 of points."""
        return self.parts[0].faces.shape[1]

    @property
    def triangles(self) -> int:
        return sum(len(part.faces) for part in self.parts) if self.corners == 3 else 0

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Compute the lowest and highest corner [3] float64 of all faces."""
        # Vertices without a face do not count: they are not seen.
        corners = [part.positions[_used(part)] for part in self.parts]
        low = np.min([c.min(axis=0) for c in corners], axis=0)
        high = np.max([c.max(axis=0) for c in corners], axis=0)
        return low.astype(np.float64), high.astype(np.float64)


def _used(part: Part) -> np.ndarray:
    used = np.zeros(len(part.positions), bool)
    used[part.faces] = True
    return used


@dataclass(frozen=True)
class Normalisation:
    """stage = (world − centre) × scale; 1 / scale recovers lengths in the object's own unit."""

    centre: tuple[float, float, float]
    scale: float


def normalise(mesh: Mesh) -> tuple[Mesh, Normalisation]:
    """Centre an object's bounding box and scale its longest side to STAGE_SIDE_M.

    Positions become float32 here: before, an object far from 0 would lose its digits.

    Raises:
        BadSampleError: the object has no extent, or one that no float64 holds.
    """
    low, high = mesh.bounds()
    with np.errstate(over="ignore"):  # what exceeds float64 is refused below
        longest = float((high - low).max())
    if longest <= 0:
        raise BadSampleError("degenerate geometry: the whole object lies in one point")
    scale = STAGE_SIDE_M / longest
    if not 0 < scale < np.inf:
        raise BadSampleError(f"degenerate geometry: longest side {longest:g}")
    centre = low / 2 + high / 2
    parts = tuple(
        replace(part, positions=((part.positions - centre) * scale).astype(np.float32))
        for part in mesh.parts
    )
    x, y, z = (float(c) for c in centre)
    return Mesh(parts), Normalisation((x, y, z), scale)
