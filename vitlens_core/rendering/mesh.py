"""A renderable object: triangles with one base colour per material.

Promises: positions are finite, faces refer to existing vertices, the arrays of a part have one
length. Axes: P vertices, F triangles. Colours of vertices and factors are linear light,
texels are sRGB. World space is right-handed with y up (glTF).
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

    `repeat` says for u and v whether the image repeats; otherwise its edge continues.
    """

    texels: np.ndarray
    repeat: tuple[bool, bool] = (True, True)


@dataclass(frozen=True, eq=False)
class Material:
    """Base colour: texture × factor × vertex colour, all in linear light."""

    texture: Texture | None = None
    factor: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    alpha_mode: Literal["OPAQUE", "MASK", "BLEND"] = "OPAQUE"
    alpha_cutoff: float = 0.5
    unlit: bool = False

    @property
    def visible_from(self) -> float:
        """The smallest alpha at which the surface counts for depth and for point sampling."""
        return {"OPAQUE": 0.0, "MASK": self.alpha_cutoff, "BLEND": _BLEND_VISIBLE_FROM}[
            self.alpha_mode
        ]


@dataclass(frozen=True, eq=False)
class Part:
    """Triangles that share a material.

    positions, normals [P, 3] float32 (a zero normal means: use the face's), uv [P, 2] float32
    with texture transforms applied, colours [P, 4] float32 linear, faces [F, 3] uint32.
    """

    positions: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    colours: np.ndarray
    faces: np.ndarray
    material: Material


@dataclass(frozen=True, eq=False)
class Mesh:
    """One object; at most one part per material."""

    parts: tuple[Part, ...]

    @property
    def triangles(self) -> int:
        return sum(len(part.faces) for part in self.parts)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Compute the lowest and highest corner [3] float64 of all triangles."""
        # Vertices without a triangle do not count: they are not seen.
        corners = [part.positions[_used(part)] for part in self.parts]
        low = np.min([c.min(axis=0) for c in corners], axis=0)
        high = np.max([c.max(axis=0) for c in corners], axis=0)
        # float64: centre and size of an object far from 0 would lose digits in float32.
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

    Raises:
        BadSampleError: the object has no extent.
    """
    low, high = mesh.bounds()
    longest = float((high - low).max())
    if longest <= 0:
        raise BadSampleError("degenerate geometry: all triangles lie in one point")
    centre, scale = (low + high) / 2, STAGE_SIDE_M / longest
    parts = tuple(
        replace(part, positions=((part.positions - centre) * scale).astype(np.float32))
        for part in mesh.parts
    )
    x, y, z = (float(c) for c in centre)
    return Mesh(parts), Normalisation((x, y, z), scale)
