"""Reads GLB bytes as a Mesh: walks the scene, decodes its triangles, places them in the world.

Morph targets and skins are read at their rest pose; points, lines, cameras, lights and
animations are ignored. Source: glTF 2.0 specification, chapters 3.5 and 3.7.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from vitlens_core.errors import BadSampleError
from vitlens_core.rendering import schema
from vitlens_core.rendering.glb import Binary, GlbLimits, item, split_container
from vitlens_core.rendering.materials import Materials
from vitlens_core.rendering.mesh import Material, Mesh, Part
from vitlens_core.rendering.nodes import world_matrices
from vitlens_core.rendering.primitives import Primitive, read_primitive

_READ_EXTENSIONS = {
    "EXT_texture_webp",
    "KHR_draco_mesh_compression",
    "KHR_materials_pbrSpecularGlossiness",
    "KHR_materials_unlit",
    "KHR_mesh_quantization",
    "KHR_texture_transform",
}
# These change how a surface reflects light, not its shape or base colour.
_HARMLESS_EXTENSIONS = {
    "KHR_animation_pointer",
    "KHR_lights_punctual",
    "KHR_materials_anisotropy",
    "KHR_materials_clearcoat",
    "KHR_materials_dispersion",
    "KHR_materials_emissive_strength",
    "KHR_materials_ior",
    "KHR_materials_iridescence",
    "KHR_materials_sheen",
    "KHR_materials_specular",
    "KHR_materials_transmission",
    "KHR_materials_variants",
    "KHR_materials_volume",
    "KHR_xmp_json_ld",
}


def load_glb(data: bytes, limits: GlbLimits = GlbLimits()) -> Mesh:  # noqa: B008 -- frozen
    """Read one object from the bytes of a binary glTF 2.0 file.

    Raises:
        BadSampleError: it is broken, or cannot be shown as its author meant.
    """
    json_chunk, binary_chunk = split_container(data, limits)
    document = schema.parse_document(json_chunk)
    unknown = set(document.extensions_required) - _READ_EXTENSIONS - _HARMLESS_EXTENSIONS
    if unknown:
        raise BadSampleError(f"requires unsupported extensions: {', '.join(sorted(unknown))}")
    mesh = _Scene(document, Binary(document, binary_chunk, limits), limits).mesh()
    if not mesh.parts:
        raise BadSampleError("empty scene: no triangles")
    return mesh


class _Scene:
    """A document whose nodes are turned into one mesh."""

    def __init__(self, document: schema.Document, binary: Binary, limits: GlbLimits) -> None:
        self._document = document
        self._binary = binary
        self._limits = limits
        self._materials = Materials(document, binary, limits)
        self._world = world_matrices(document)

    def mesh(self) -> Mesh:
        by_material: dict[int | None, list[Part]] = {}
        triangles = 0
        for index in self._world:
            for material, part in self._node_parts(self._document.nodes[index], index):
                by_material.setdefault(material, []).append(part)
                triangles += len(part.faces)
                if triangles > self._limits.max_triangles:
                    raise BadSampleError(f"more than {self._limits.max_triangles} triangles")
        return Mesh(tuple(_merged(parts) for parts in by_material.values()))

    def _node_parts(self, node: schema.Node, index: int) -> Iterator[tuple[int | None, Part]]:
        if node.mesh is None:
            return
        mesh = item(self._document.meshes, node.mesh, "mesh")
        for source in mesh.primitives:
            material, uv_source = self._materials.get(source.material)
            weights = node.weights or mesh.weights
            primitive = read_primitive(source, uv_source, weights, self._binary)
            if primitive is not None:
                pose = self._pose(node, index, primitive)
                yield source.material, _placed(primitive, pose, material)

    def _pose(self, node: schema.Node, index: int, primitive: Primitive) -> np.ndarray:
        """Compute the world matrix of the node [4, 4], or of each vertex [P, 4, 4] of a skin."""
        if node.skin is None or primitive.skin is None:
            return self._world[index]
        skin = item(self._document.skins, node.skin, "skin")
        joints, weights = primitive.skin
        if joints.min() < 0 or joints.max() >= len(skin.joints):
            raise BadSampleError(f"index out of range: a joint beyond the {len(skin.joints)}")
        matrices, pose = self._joint_matrices(skin), np.zeros((len(joints), 4, 4))
        for column in range(joints.shape[1]):
            pose += weights[:, column, None, None] * matrices[joints[:, column]]
        # Weights should sum to 1, but quantised ones do not; a vertex without any follows the node.
        total = weights.sum(axis=1)
        bound = total > 0
        pose[bound] /= total[bound, None, None]
        pose[~bound] = self._world[index]
        return pose

    def _joint_matrices(self, skin: schema.Skin) -> np.ndarray:
        """Compute mesh to world at the rest pose for each joint, [J, 4, 4]."""
        world = [self._world.get(joint) for joint in skin.joints]
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
    positions = np.einsum("...ij,...j->...i", pose[..., :3, :3], primitive.positions)
    with np.errstate(over="ignore"):  # what exceeds float32 is refused below
        positions = (positions + pose[..., :3, 3]).astype(np.float32)
    if not np.isfinite(positions).all():
        raise BadSampleError("positions are not finite (NaN or infinity) once placed in the world")
    normals = np.einsum("...ij,...j->...i", _cofactors(pose[..., :3, :3]), primitive.normals)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.divide(normals, length, out=np.zeros_like(normals), where=length > 0)
    return Part(
        positions, normals.astype(np.float32), primitive.uv, primitive.colours,
        primitive.faces, material,
    )  # fmt: skip


def _cofactors(linear: np.ndarray) -> np.ndarray:
    """Compute matrices that transform normals: inverse transposes, up to a positive factor."""
    # Cofactors exist for a flat matrix too, which has no inverse.
    x, y, z = linear[..., 0], linear[..., 1], linear[..., 2]
    columns = np.stack([np.cross(y, z), np.cross(z, x), np.cross(x, y)], axis=-1)
    # A negative determinant turns the cofactors round.
    mirrored = np.sum(columns[..., 0] * x, axis=-1) < 0
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
        uv=np.concatenate([part.uv for part in parts]),
        colours=np.concatenate([part.colours for part in parts]),
        faces=np.concatenate(
            [part.faces + np.uint32(start) for part, start in zip(parts, starts, strict=True)]
        ),
    )
