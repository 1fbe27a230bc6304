"""The subset of glTF 2.0 JSON that the loader reads, typed and range-checked.

Unknown fields are ignored. Wrong types, negative counts and numbers that are not finite are
refused before any of them is used. Source: Khronos glTF 2.0 specification, chapter 5.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from pydantic.alias_generators import to_camel

from vitlens_core.errors import BadSampleError

# With these bounds, sums and products of sizes stay within an int64.
Index = Annotated[int, Field(ge=0, lt=2**32)]
Size = Annotated[int, Field(ge=0, lt=2**48)]
Unit = Annotated[FiniteFloat, Field(ge=0, le=1)]
Vec2 = tuple[FiniteFloat, FiniteFloat]
Vec3 = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
Vec4 = tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]


class _Gltf(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, frozen=True)


class Buffer(_Gltf):
    byte_length: Size
    uri: str | None = None


class BufferView(_Gltf):
    buffer: Index
    byte_length: Size
    byte_offset: Size = 0
    # The range of the specification.
    byte_stride: Annotated[int, Field(ge=4, le=252)] | None = None


class SparseIndices(_Gltf):
    buffer_view: Index
    component_type: Literal[5121, 5123, 5125]
    byte_offset: Size = 0


class SparseValues(_Gltf):
    buffer_view: Index
    byte_offset: Size = 0


class Sparse(_Gltf):
    count: Size
    indices: SparseIndices
    values: SparseValues


class Accessor(_Gltf):
    component_type: Literal[5120, 5121, 5122, 5123, 5125, 5126]
    count: Size
    type: Literal["SCALAR", "VEC2", "VEC3", "VEC4", "MAT2", "MAT3", "MAT4"]
    buffer_view: Index | None = None
    byte_offset: Size = 0
    normalized: bool = False
    sparse: Sparse | None = None


class Image(_Gltf):
    uri: str | None = None
    buffer_view: Index | None = None


class Sampler(_Gltf):
    wrap_s: Literal[10497, 33071, 33648] = 10497
    wrap_t: Literal[10497, 33071, 33648] = 10497


class ImageSource(_Gltf):
    source: Index


class TextureExtensions(_Gltf):
    webp: ImageSource | None = Field(None, alias="EXT_texture_webp")


class Texture(_Gltf):
    source: Index | None = None
    sampler: Index | None = None
    extensions: TextureExtensions = TextureExtensions()


class TextureTransform(_Gltf):
    offset: Vec2 = (0.0, 0.0)
    rotation: FiniteFloat = 0.0
    scale: Vec2 = (1.0, 1.0)
    tex_coord: Index | None = None


class TextureInfoExtensions(_Gltf):
    transform: TextureTransform | None = Field(None, alias="KHR_texture_transform")


class TextureInfo(_Gltf):
    index: Index
    tex_coord: Index = 0
    extensions: TextureInfoExtensions = TextureInfoExtensions()


class PbrMetallicRoughness(_Gltf):
    base_color_factor: Vec4 = (1.0, 1.0, 1.0, 1.0)
    base_color_texture: TextureInfo | None = None


class PbrSpecularGlossiness(_Gltf):
    diffuse_factor: Vec4 = (1.0, 1.0, 1.0, 1.0)
    diffuse_texture: TextureInfo | None = None


class Empty(_Gltf):
    """An extension without fields that are read: only its presence matters."""


class MaterialExtensions(_Gltf):
    unlit: Empty | None = Field(None, alias="KHR_materials_unlit")
    specular_glossiness: PbrSpecularGlossiness | None = Field(
        None, alias="KHR_materials_pbrSpecularGlossiness"
    )


class Material(_Gltf):
    pbr_metallic_roughness: PbrMetallicRoughness = PbrMetallicRoughness()
    emissive_factor: Vec3 = (0.0, 0.0, 0.0)
    emissive_texture: TextureInfo | None = None
    alpha_mode: Literal["OPAQUE", "MASK", "BLEND"] = "OPAQUE"
    alpha_cutoff: Annotated[FiniteFloat, Field(ge=0)] = 0.5
    extensions: MaterialExtensions = MaterialExtensions()


class Draco(_Gltf):
    buffer_view: Index
    attributes: dict[str, Index]


class PrimitiveExtensions(_Gltf):
    draco: Draco | None = Field(None, alias="KHR_draco_mesh_compression")


class Primitive(_Gltf):
    attributes: dict[str, Index]
    indices: Index | None = None
    material: Index | None = None
    mode: Annotated[int, Field(ge=0, le=6)] = 4
    targets: list[dict[str, Index]] = []
    extensions: PrimitiveExtensions = PrimitiveExtensions()


class Mesh(_Gltf):
    primitives: list[Primitive]
    weights: list[FiniteFloat] = []


class Node(_Gltf):
    children: list[Index] = []
    mesh: Index | None = None
    skin: Index | None = None
    matrix: Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)] | None = None
    translation: Vec3 = (0.0, 0.0, 0.0)
    rotation: Vec4 = (0.0, 0.0, 0.0, 1.0)
    scale: Vec3 = (1.0, 1.0, 1.0)
    weights: list[FiniteFloat] = []


class Skin(_Gltf):
    joints: list[Index]
    inverse_bind_matrices: Index | None = None


class Scene(_Gltf):
    nodes: list[Index] = []


class Document(_Gltf):
    extensions_required: list[str] = []
    scene: Index | None = None
    scenes: list[Scene] = []
    nodes: list[Node] = []
    meshes: list[Mesh] = []
    skins: list[Skin] = []
    materials: list[Material] = []
    textures: list[Texture] = []
    samplers: list[Sampler] = []
    images: list[Image] = []
    accessors: list[Accessor] = []
    buffer_views: list[BufferView] = []
    buffers: list[Buffer] = []


def parse_document(json_chunk: bytes) -> Document:
    """Validate a GLB's JSON chunk.

    Raises:
        BadSampleError: it is not JSON, or a field, which is named, has a wrong type or range.
    """
    try:
        return Document.model_validate_json(json_chunk)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(key) for key in first["loc"])
        raise BadSampleError(f"invalid glTF JSON: {field or 'document'}: {first['msg']}") from None
