"""Where a primitive's vertex data comes from: accessors, or a compressed stream beside them."""

from typing import Protocol

import numpy as np

from vitlens_core.rendering import schema
from vitlens_core.rendering.glb import Binary


class Attributes(Protocol):
    """Where a primitive's vertex data comes from."""

    def get(self, name: str, widths: tuple[int, ...]) -> np.ndarray | None:
        """Attribute [P, C] float32 with C in `widths`; None if absent."""
        ...

    def corners(self, vertices: int) -> np.ndarray:
        """Vertex index of each corner, uint32."""
        ...


class PlainAttributes:
    """Vertex data in accessors."""

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
        if self._source.indices is None:
            return np.arange(vertices, dtype=np.uint32)
        return self._binary.integers(self._source.indices, (1,))[:, 0].astype(np.uint32)
