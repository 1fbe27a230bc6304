"""Reads Draco-compressed primitives (KHR_draco_mesh_compression) through optional DracoPy."""

import numpy as np

from vitlens_core.errors import BadSampleError
from vitlens_core.rendering import schema
from vitlens_core.rendering.attributes import PlainAttributes
from vitlens_core.rendering.glb import Binary, as_floats


class DracoAttributes:
    """Vertex data in a Draco stream; attributes outside the stream stay in their accessors.

    Raises:
        BadSampleError: DracoPy is not installed, or the stream is broken.
    """

    def __init__(self, source: schema.Draco, plain: PlainAttributes, binary: Binary) -> None:
        self._source = source
        self._plain = plain
        self._arrays, self._corners = _decode(bytes(binary.view_bytes(source.buffer_view)))

    def get(self, name: str, widths: tuple[int, ...], is_unit: bool = False) -> np.ndarray | None:
        if name not in self._source.attributes:
            return self._plain.get(name, widths, is_unit)
        array = self._arrays.get(self._source.attributes[name])
        if array is None or array.ndim != 2 or array.shape[1] not in widths:
            raise BadSampleError(f"the Draco stream does not hold {name} as the glTF states it")
        return as_floats(array, is_unit or self._plain.normalized(name))

    def corners(self, vertices: int) -> np.ndarray:
        return self._corners


def _decode(stream: bytes) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """Decode attributes [P, C] by Draco id, and the vertex of each corner."""
    try:
        # Imported here: DracoPy is optional, and few objects are compressed.
        import DracoPy  # ty: ignore[import-not-found]
    except ImportError:
        raise BadSampleError(
            "compressed with KHR_draco_mesh_compression, which needs `pip install DracoPy`"
        ) from None
    try:
        mesh = DracoPy.decode(stream)
    except (DracoPy.FileTypeException, ValueError, RuntimeError) as error:
        raise BadSampleError(f"broken Draco stream: {error}") from None
    corners = np.asarray(getattr(mesh, "faces", []), dtype=np.uint32).reshape(-1)
    arrays = {int(a["unique_id"]): np.asarray(a["data"]) for a in mesh.attributes}
    return arrays, corners
