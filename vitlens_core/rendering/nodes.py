"""Turns glTF's node hierarchy into world matrices. Source: glTF 2.0 specification, chapter 3.5."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitlens_core.errors import BadSampleError
from vitlens_core.rendering import schema
from vitlens_core.rendering.glb import Binary, item
from vitlens_core.rendering.schema_base import Vec4


@dataclass(frozen=True)
class World:
    """The nodes of the scene that is shown.

    Attributes:
        matrices: node to world [4, 4] float64, by index, in the document's order.
        hidden: nodes that are not shown, though their transforms count for skins.
    """

    matrices: dict[int, np.ndarray]
    hidden: frozenset[int]


def place_nodes(document: schema.Document) -> World:
    """Walk the shown scene.

    Raises:
        BadSampleError: the nodes form a cycle, or one has two parents.
    """
    coarse = {index for node in document.nodes for index in node.extensions.lod.ids}
    # A list instead of recursion: a hostile file may nest deeper than Python's stack.
    pending = [(root, np.eye(4), False) for root in _roots(document)]
    matrices: dict[int, np.ndarray] = {}
    hidden = set()
    while pending:
        index, parent, is_hidden = pending.pop()
        node = item(document.nodes, index, "node")
        if index in matrices:
            raise BadSampleError(f"node {index} is reached twice: the nodes are not a tree")
        with np.errstate(over="ignore", invalid="ignore"):  # refused where positions are placed
            matrices[index] = parent @ local_matrix(node)
        # Coarser levels of detail stand for a node that is shown itself.
        is_hidden = is_hidden or index in coarse or not node.extensions.visibility.visible
        if is_hidden:
            hidden.add(index)
        # Reversed, since the last one is taken first: nodes come in the document's order.
        pending += [(child, matrices[index], is_hidden) for child in reversed(node.children)]
    return World(matrices, frozenset(hidden))


def _roots(document: schema.Document) -> Sequence[int]:
    """List the roots of the default scene, else of the first, else all nodes without a parent."""
    if document.scenes:
        return item(document.scenes, document.scene or 0, "scene").nodes
    children = {child for node in document.nodes for child in node.children}
    return [index for index in range(len(document.nodes)) if index not in children]


def instance_matrices(node: schema.Node, binary: Binary) -> np.ndarray:
    """Read the transforms [I, 4, 4] of a node's instances; one that does nothing if it has none.

    Raises:
        BadSampleError: their attributes are of unequal length.
    """
    instancing = node.extensions.instancing
    if instancing is None:
        return np.eye(4)[None]
    read = {
        name: binary.floats(instancing.attributes[name], (width,)).astype(np.float64)
        for name, width in (("TRANSLATION", 3), ("ROTATION", 4), ("SCALE", 3))
        if name in instancing.attributes
    }
    counts = {len(values) for values in read.values()}
    if len(counts) != 1:
        raise BadSampleError(
            f"attributes of instances have lengths {sorted(counts)}; expected one length"
        )
    (count,) = counts
    matrices = np.tile(np.eye(4), (count, 1, 1))
    if "ROTATION" in read:
        matrices[:, :3, :3] = [_rotation(tuple(row)) for row in read["ROTATION"].tolist()]
    if "SCALE" in read:
        matrices[:, :3, :3] *= read["SCALE"][:, None]
    if "TRANSLATION" in read:
        matrices[:, :3, 3] = read["TRANSLATION"]
    return matrices


def local_matrix(node: schema.Node) -> np.ndarray:
    """Compute node-to-parent [4, 4] float64: as stored, or translation × rotation × scale."""
    if node.matrix is not None:
        return np.array(node.matrix).reshape(4, 4).T  # stored column by column
    matrix = np.eye(4)
    matrix[:3, :3] = _rotation(node.rotation) * np.array(node.scale)
    matrix[:3, 3] = node.translation
    return matrix


def _rotation(quaternion: Vec4) -> np.ndarray:
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
