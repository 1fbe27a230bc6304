"""Reads glTF bytes as a Mesh: walks the scene, decodes its faces, places them in the world.

Surfaces come first: beside triangles, points and lines are left out; beside points, lines are.
Morph targets and skins are read at their rest pose; cameras, lights and animations are ignored.
Source: glTF 2.0 specification, chapters 3.5 and 3.7.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from vitlens_core.errors import BadSampleError
from vitlens_core.rendering import schema
from vitlens_core.rendering.container import GlbLimits, split_container
from vitlens_core.rendering.extensions import check_required
from vitlens_core.rendering.glb import Binary, item
from vitlens_core.rendering.materials import Materials
from vitlens_core.rendering.mesh import Material, Mesh, Part
from vitlens_core.rendering.nodes import instance_matrices, place_nodes
from vitlens_core.rendering.primitives import Primitive, read_primitive
from vitlens_core.rendering.uris import Files

# Corners of a face by preference: triangles, points, lines.
_PREFERENCE = (3, 1, 2)


def load_glb(
    data: bytes,
    limits: GlbLimits = GlbLimits(),  # noqa: B008 -- frozen
    files: Files | None = None,
) -> Mesh:
    """Read one object from the bytes of a glTF 2.0 file, binary (.glb) or JSON (.gltf).

    Args:
        files: source of the files that a .gltf names by relative URI (`FilesBeside`); without it
            everything must be embedded.

    Raises:
        BadSampleError: it is broken, or cannot be shown as its author meant.
    """
    json_chunk, binary_chunk = split_container(data, limits)
    # Before the rest, which an extension that is not read may have changed.
    check_required(schema.parse_requirements(json_chunk).extensions_required)
    document = schema.parse_document(json_chunk)
    return _Scene(document, Binary(document, binary_chunk, limits, files), limits).mesh()


class _Scene:
    """A document whose nodes are turned into one mesh."""

    def __init__(self, document: schema.Document, binary: Binary, limits: GlbLimits) -> None:
        self._document = document
        self._binary = binary
        self._limits = limits
        self._materials = Materials(document, binary, limits)
        self._world = place_nodes(document)

    def mesh(self) -> Mesh:
        by_kind: dict[tuple[int, int | None], list[Part]] = {}
        faces = 0
        for index in self._world.matrices:
            if index in self._world.hidden:
                continue
            for material, part in self._node_parts(self._document.nodes[index], index):
                by_kind.setdefault((part.faces.shape[1], material), []).append(part)
                faces += len(part.faces)
                self._check_size(faces)
        for corners in _PREFERENCE:
            found = [parts for (width, _), parts in by_kind.items() if width == corners]
            if found:
                return Mesh(tuple(_merged(parts) for parts in found))
        raise BadSampleError(
            "empty scene: no triangles, points or lines are shown; expected a mesh in a node of "
            "the scene"
        )

    def _check_size(self, faces: int) -> None:
        if faces > self._limits.max_triangles:
            raise BadSampleError(
                f"more than {self._limits.max_triangles} triangles; simplify the mesh"
            )

    def _node_parts(self, node: schema.Node, index: int) -> Iterator[tuple[int | None, Part]]:
        if node.mesh is None:
            return
        mesh = item(self._document.meshes, node.mesh, "mesh")
        for source in mesh.primitives:
            material, uv_sources = self._materials.get(source.material)
            weights = node.weights or mesh.weights
            primitive = read_primitive(source, uv_sources, weights, self._binary)
            if primitive is not None:
                for pose in self._poses(node, index, primitive):
                    yield source.material, _placed(primitive, pose, material)

    def _poses(self, node: schema.Node, index: int, primitive: Primitive) -> Iterator[np.ndarray]:
        """Yield the world matrix [4, 4] of each instance, or [P, 4, 4] of a skin's vertices."""
        if node.skin is not None and primitive.skin is not None:
            yield self._skinned_pose(node.skin, index, primitive.skin)
            return
        instances = instance_matrices(node, self._binary)
        self._check_size(len(instances) * len(primitive.faces))
        with np.errstate(over="ignore", invalid="ignore"):  # refused where positions are placed
            for instance in instances:
                yield self._world.matrices[index] @ instance

    def _skinned_pose(
        self, skin_index: int, node: int, bindings: tuple[np.ndarray, np.ndarray]
    ) -> np.ndarray:
        skin = item(self._document.skins, skin_index, "skin")
        joints, weights = bindings
        if joints.min() < 0 or joints.max() >= len(skin.joints):
            raise BadSampleError(f"index out of range: a joint beyond the {len(skin.joints)}")
        matrices, pose = self._joint_matrices(skin), np.zeros((len(joints), 4, 4))
        for column in range(joints.shape[1]):
            pose += weights[:, column, None, None] * matrices[joints[:, column]]
        # Weights should sum to 1, but quantised ones do not; a vertex without any follows the node.
        total = weights.sum(axis=1)
        bound = total > 0
        pose[bound] /= total[bound, None, None]
        pose[~bound] = self._world.matrices[node]
        return pose

    def _joint_matrices(self, skin: schema.Skin) -> np.ndarray:
        """Compute mesh to world at the rest pose for each joint, [J, 4, 4]."""
        world = [self._world.matrices.get(joint) for joint in skin.joints]
        if any(matrix is None for matrix in world):
            raise BadSampleError("a skin uses a joint outside the scene")
        joints = np.array(world)
        if skin.inverse_bind_matrices is None:
            return joints
        inverse = self._binary.floats(skin.inverse_bind_matrices, (16,))
        if len(inverse) < len(joints):
            raise BadSampleError(f"{len(inverse)} inverse bind matrices for {len(joints)} joints")
        # Stored column by column. Matrices beyond the joints are ignored.
        return joints @ inverse[: len(joints)].reshape(-1, 4, 4).transpose(0, 2, 1)


def _placed(primitive: Primitive, pose: np.ndarray, material: Material) -> Part:
    """Place a primitive in world space; `pose` is [4, 4] or [P, 4, 4]."""
    with np.errstate(over="ignore", invalid="ignore"):  # what exceeds float64 is refused below
        positions = np.einsum("...ij,...j->...i", pose[..., :3, :3], primitive.positions)
        positions = positions + pose[..., :3, 3]
    if not np.isfinite(positions).all():
        raise BadSampleError("positions are not finite (NaN or infinity) once placed in the world")
    linear = _without_size(pose[..., :3, :3])
    normals = np.einsum("...ij,...j->...i", _cofactors(linear), primitive.normals)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.divide(normals, length, out=np.zeros_like(normals), where=length > 0)
    faces = primitive.faces
    # A mirrored triangle keeps its front (chapter 3.7.4): its corners run the other way.
    if faces.shape[1] == 3 and np.median(_determinants(linear)) < 0:
        faces = faces[:, [0, 2, 1]]
    return Part(
        positions, normals.astype(np.float32), primitive.uv, primitive.colours, faces,
        _drawn_as(material, faces.shape[1]),
    )  # fmt: skip


def _drawn_as(material: Material, corners: int) -> Material:
    """Return the material of faces with so many corners: points and lines are not lit."""
    return material if corners == 3 else replace(material, unlit=True, double_sided=True)


def _without_size(linear: np.ndarray) -> np.ndarray:
    """Scale matrices [..., 3, 3] to a largest entry of 1: products of tiny ones would be 0."""
    largest = np.abs(linear).max(axis=(-2, -1), keepdims=True)
    return np.divide(linear, largest, out=np.zeros_like(linear), where=largest > 0)


def _determinants(linear: np.ndarray) -> np.ndarray:
    x, y, z = linear[..., 0], linear[..., 1], linear[..., 2]
    return np.sum(x * np.cross(y, z), axis=-1)


def _cofactors(linear: np.ndarray) -> np.ndarray:
    """Compute matrices that transform normals: inverse transposes, up to a positive factor."""
    # Cofactors exist for a flat matrix too, which has no inverse.
    x, y, z = linear[..., 0], linear[..., 1], linear[..., 2]
    columns = np.stack([np.cross(y, z), np.cross(z, x), np.cross(x, y)], axis=-1)
    # A negative determinant turns the cofactors round.
    mirrored = _determinants(linear) < 0
    return np.where(mirrored[..., None, None], -columns, columns)


def _merged(parts: list[Part]) -> Part:
    """Join the parts of one material, so that they are drawn at once."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0] + [len(part.positions) for part in parts[:-1]])
    return replace(
        parts[0],
        positions=np.concatenate([part.positions for part in parts]),
        normals=np.concatenate([part.normals for part in parts]),
        uv=np.concatenate([part.uv for part in parts], axis=1),
        colours=np.concatenate([part.colours for part in parts]),
        faces=np.concatenate(
            [part.faces + np.uint32(start) for part, start in zip(parts, starts, strict=True)]
        ),
    )
