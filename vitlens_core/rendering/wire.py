"""The format in which a child that handles untrusted files answers: JSON and raw arrays.

It is not pickle, because nothing that such a child sends may run code in its parent.
"""

import json
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

# The types that arrays may have: a dtype of objects would hold pointers.
_DTYPES = ("uint8", "uint16", "float16", "float32", "float64")


def send(connection: Connection, fields: dict[str, Any], **arrays: np.ndarray) -> None:
    """Send JSON-able fields and named arrays."""
    shapes = {name: [str(array.dtype), list(array.shape)] for name, array in arrays.items()}
    connection.send_bytes(json.dumps({"fields": fields, "arrays": shapes}).encode())
    for array in arrays.values():
        connection.send_bytes(np.ascontiguousarray(array).data.cast("B"))


def receive(connection: Connection) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Receive the fields and arrays of one message.

    Raises:
        EOFError: the other side is gone.
        ValueError: it is no message of `send`.
    """
    header = json.loads(connection.recv_bytes())
    arrays = {}
    for name, (dtype, shape) in header["arrays"].items():
        if dtype not in _DTYPES:
            raise ValueError(f"array {name} of type {dtype}")
        # A bytearray can be written to, and so can the array.
        arrays[name] = np.frombuffer(bytearray(connection.recv_bytes()), dtype).reshape(shape)
    return header["fields"], arrays
