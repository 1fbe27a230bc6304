"""How a child that handles strangers' files answers: JSON plus raw arrays, never pickle.

The child has handled bytes from strangers; nothing it sends may run code in its parent.
"""

import json
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

_DTYPES = ("uint8", "uint16", "float16", "float32", "float64")


def send(connection: Connection, fields: dict[str, Any], **arrays: np.ndarray) -> None:
    """Send JSON-able fields and named arrays."""
    shapes = {name: [str(array.dtype), list(array.shape)] for name, array in arrays.items()}
    connection.send_bytes(json.dumps({"fields": fields, "arrays": shapes}).encode())
    for array in arrays.values():
        connection.send_bytes(np.ascontiguousarray(array).data.cast("B"))


def receive(connection: Connection) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Fields and arrays of one message.

    Raises:
        EOFError: the other side is gone.
        ValueError: not such a message.
    """
    header = json.loads(connection.recv_bytes())
    arrays = {}
    for name, (dtype, shape) in header["arrays"].items():
        if dtype not in _DTYPES:
            raise ValueError(f"array {name} of type {dtype}")
        arrays[name] = np.frombuffer(bytearray(connection.recv_bytes()), dtype).reshape(shape)
    return header["fields"], arrays
