"""Sources of a primitive's vertex data: accessors, or (in `draco`) a compressed stream."""

from typing import Protocol

import numpy as np

from vitlens_core.rendering import schema
from vitlens_core.rendering.glb import Binary


class Attributes(Protocol):
    """A source of a primitive's vertex data."""

    def get(self, name: str, widths: tuple[int, ...]) -> np.ndarray | None:
        """Read attribute [P, C] float32 with C in `widths`; None if it is absent."""
        ...

    def corners(self, vertices: int) -> np.ndarray:
        """Read the vertex index of each corner, uint32."""
        ...


class PlainAttributes:
    """Vertex data that lies in accessors."""

    def __init__(self, source: schema.Primitive, binary: Binary) -> None:
        self._source = source
        self._binary = binary

    def get(self, name: str, widths: tuple[int, ...]) -> np.ndarray | None:
        accessor = self._source.attributes.get(name)
        return None if accessor is None else self._binary.floats(accessor, widths)

    def normalized(self, name: str) -> bool:
        accessor = self._source.attributes.get(name)
        return accessor is not None and self._binary.normalized(accessor)

    def corners(self, vertices: int) -> np.ndarray:
        # Without indices, vertices are listed once per corner.
        if self._source.indices is None:
            return np.arange(vertices, dtype=np.uint32)
        return self._binary.integers(self._source.indices, (1,))[:, 0].astype(np.uint32)
