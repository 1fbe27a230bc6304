"""The subset of glTF 2.0 JSON that the loader reads, typed and range-checked.

Unknown fields are ignored. Wrong types, negative counts and numbers that are not finite are
refused before any of them is used. Source: Khronos glTF 2.0 specification, chapter 5.
"""

from typing import Annotated, Literal, TypeVar

from pydantic import Field, FiniteFloat, ValidationError

from vitlens_core.errors import BadSampleError
from vitlens_core.rendering.schema_base import Extensions, Gltf, Index, Size, Vec3, Vec4
from vitlens_core.rendering.schema_materials import Image, Material, Sampler, Texture

# As versions are written; some writers leave the fraction out.
_VERSIONS = ("2.0", "2")
_Model = TypeVar("_Model", bound=Gltf)


class Buffer(Gltf):
    byte_length: Size
    uri: str | None = None


class BufferView(Gltf):
    buffer: Index
    byte_length: Size
    byte_offset: Size = 0
    # Wider than the specification's 4 to 252: 0 stands for "tightly packed" in older exports, and
    # any stride that holds an element can be read.
    byte_stride: Size | None = None
    extensions: Extensions = Extensions()


class SparseIndices(Gltf):
    buffer_view: Index
    component_type: Literal[5121, 5123, 5125]
    byte_offset: Size = 0


class SparseValues(Gltf):
    buffer_view: Index
    byte_offset: Size = 0


class Sparse(Gltf):
    count: Size
    indices: SparseIndices
    values: SparseValues


class Accessor(Gltf):
    component_type: Literal[5120, 5121, 5122, 5123, 5125, 5126]
    count: Size
    type: Literal["SCALAR", "VEC2", "VEC3", "VEC4", "MAT2", "MAT3", "MAT4"]
    buffer_view: Index | None = None
    byte_offset: Size = 0
    normalized: bool = False
    sparse: Sparse | None = None
    extensions: Extensions = Extensions()


class Draco(Gltf):
    buffer_view: Index
    attributes: dict[str, Index]


class GaussianSplatting(Gltf):
    color_space: str = "srgb_rec709_display"


class PrimitiveExtensions(Extensions):
    draco: Draco | None = Field(None, alias="KHR_draco_mesh_compression")
    splats: GaussianSplatting | None = Field(None, alias="KHR_gaussian_splatting")


class Primitive(Gltf):
    attributes: dict[str, Index]
    indices: Index | None = None
    material: Index | None = None
    mode: Annotated[int, Field(ge=0, le=6)] = 4
    targets: tuple[dict[str, Index], ...] = ()
    extensions: PrimitiveExtensions = PrimitiveExtensions()


class Mesh(Gltf):
    primitives: list[Primitive]
    weights: tuple[FiniteFloat, ...] = ()


class Instancing(Gltf):
    attributes: dict[str, Index]


class Visibility(Gltf):
    visible: bool = True


class Lod(Gltf):
    ids: tuple[Index, ...] = ()


class NodeExtensions(Extensions):
    instancing: Instancing | None = Field(None, alias="EXT_mesh_gpu_instancing")
    visibility: Visibility = Field(Visibility(), alias="KHR_node_visibility")
    lod: Lod = Field(Lod(), alias="MSFT_lod")


class Node(Gltf):
    children: tuple[Index, ...] = ()
    mesh: Index | None = None
    skin: Index | None = None
    matrix: Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)] | None = None
    translation: Vec3 = (0.0, 0.0, 0.0)
    rotation: Vec4 = (0.0, 0.0, 0.0, 1.0)
    scale: Vec3 = (1.0, 1.0, 1.0)
    weights: tuple[FiniteFloat, ...] = ()
    extensions: NodeExtensions = NodeExtensions()


class Skin(Gltf):
    joints: list[Index]
    inverse_bind_matrices: Index | None = None


class Scene(Gltf):
    nodes: tuple[Index, ...] = ()


class Asset(Gltf):
    version: str | float = "2.0"
    min_version: str | None = None


class Requirements(Gltf):
    """What a document says about itself; read before all else."""

    asset: Asset = Asset()
    extensions_required: tuple[str, ...] = ()


class Document(Requirements):
    scene: Index | None = None
    scenes: tuple[Scene, ...] = ()
    nodes: tuple[Node, ...] = ()
    meshes: tuple[Mesh, ...] = ()
    skins: tuple[Skin, ...] = ()
    materials: tuple[Material, ...] = ()
    textures: tuple[Texture, ...] = ()
    samplers: tuple[Sampler, ...] = ()
    images: tuple[Image, ...] = ()
    accessors: tuple[Accessor, ...] = ()
    buffer_views: tuple[BufferView, ...] = ()
    buffers: tuple[Buffer, ...] = ()


def parse_requirements(json_chunk: bytes) -> Requirements:
    """Validate what a document requires, and no more of it.

    Raises:
        BadSampleError: it is not JSON, or written for another version of glTF.
    """
    requirements = _parse(Requirements, json_chunk)
    version = requirements.asset.min_version or str(requirements.asset.version)
    if version not in _VERSIONS:
        raise BadSampleError(f"glTF version {version}; only version 2 is read: convert it")
    return requirements


def parse_document(json_chunk: bytes) -> Document:
    """Validate a glTF document.

    Raises:
        BadSampleError: it is not JSON, or a field, which is named, has a wrong type or range.
    """
    return _parse(Document, json_chunk)


def _parse(model: type[_Model], json_chunk: bytes) -> _Model:
    try:
        return model.model_validate_json(json_chunk)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(key) for key in first["loc"])
        raise BadSampleError(f"invalid glTF JSON: {field or 'document'}: {first['msg']}") from None
