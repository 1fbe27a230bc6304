"""Turns glTF's node hierarchy into world matrices. Source: glTF 2.0 specification, chapter 3.5."""

import numpy as np

from vitlens_core.errors import BadSampleError
from vitlens_core.rendering import schema
from vitlens_core.rendering.glb import item


def world_matrices(document: schema.Document) -> dict[int, np.ndarray]:
    """Compute the world matrix [4, 4] float64 of every node in the scene that is shown.

    Raises:
        BadSampleError: the nodes form a cycle, or one has two parents.
    """
    # A list instead of recursion: a hostile file may nest deeper than Python's stack.
    pending = [(root, np.eye(4)) for root in _roots(document)]
    world: dict[int, np.ndarray] = {}
    while pending:
        index, parent = pending.pop()
        node = item(document.nodes, index, "node")
        if index in world:
            raise BadSampleError(f"node {index} is reached twice: the nodes are not a tree")
        world[index] = parent @ local_matrix(node)
        # Reversed, since the last one is taken first: nodes come in the document's order.
        pending += [(child, world[index]) for child in reversed(node.children)]
    return world


def _roots(document: schema.Document) -> list[int]:
    """List the roots of the default scene, else of the first, else all nodes without a parent."""
    if document.scenes:
        return item(document.scenes, document.scene or 0, "scene").nodes
    children = {child for node in document.nodes for child in node.children}
    return [index for index in range(len(document.nodes)) if index not in children]


def local_matrix(node: schema.Node) -> np.ndarray:
    """Compute node-to-parent [4, 4] float64: as stored, or translation × rotation × scale."""
    if node.matrix is not None:
        return np.array(node.matrix).reshape(4, 4).T  # stored column by column
    matrix = np.eye(4)
    matrix[:3, :3] = _rotation(node.rotation) * np.array(node.scale)
    matrix[:3, 3] = node.translation
    return matrix


def _rotation(quaternion: schema.Vec4) -> np.ndarray:
    # Stored quaternions are often not quite of unit length; one of length 0 turns nothing.
    norm = float(np.linalg.norm(quaternion))
    if not 0 < norm < np.inf:
        return np.eye(3)
    x, y, z, w = np.array(quaternion) / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
