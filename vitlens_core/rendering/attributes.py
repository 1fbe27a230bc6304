"""Sources of a primitive's vertex data: accessors, or (in `draco`) a compressed stream."""

from typing import Protocol

import numpy as np

from vitlens_core.rendering import schema
from vitlens_core.rendering.glb import Binary

RESTART = np.uint32(2**32 - 1)
"""In place of a vertex index: a strip or fan ends here, and another begins."""


class Attributes(Protocol):
    """A source of a primitive's vertex data."""

    def get(self, name: str, widths: tuple[int, ...], is_unit: bool = False) -> np.ndarray | None:
        """Read attribute [P, C] float32 with C in `widths`; None if it is absent.

        `is_unit`: integers stand for 0..1 even if the file does not say so.
        """
        ...

    def corners(self, vertices: int) -> np.ndarray:
        """Read the vertex index of each corner, uint32."""
        ...


class PlainAttributes:
    """Vertex data that lies in accessors."""

    def __init__(self, source: schema.Primitive, binary: Binary) -> None:
        self._source = source
        self._binary = binary

    def get(self, name: str, widths: tuple[int, ...], is_unit: bool = False) -> np.ndarray | None:
        accessor = self._source.attributes.get(name)
        return None if accessor is None else self._binary.floats(accessor, widths, is_unit)

    def normalized(self, name: str) -> bool:
        accessor = self._source.attributes.get(name)
        return accessor is not None and self._binary.normalized(accessor)

    def corners(self, vertices: int) -> np.ndarray:
        # Without indices, vertices are listed once per corner.
        if self._source.indices is None:
            return np.arange(vertices, dtype=np.uint32)
        stored = self._binary.integers(self._source.indices, (1,))[:, 0]
        corners = stored.astype(np.uint32)
        # OpenGL and WebGL take a type's largest index for the start of another strip.
        largest = np.iinfo(stored.dtype).max
        if vertices <= largest:
            corners[stored == largest] = RESTART
        return corners
