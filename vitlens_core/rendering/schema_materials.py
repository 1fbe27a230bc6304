"""The part of the glTF schema that says what a surface looks like.

Source: Khronos glTF 2.0 specification, chapter 5, and the extensions' own texts.
"""

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from vitlens_core.rendering.schema_base import Extensions, Gltf, Index, Vec2, Vec3, Vec4

NEAREST = 9728
CLAMP, MIRROR, REPEAT = 33071, 33648, 10497


class Image(Gltf):
    uri: str | None = None
    buffer_view: Index | None = None


class Sampler(Gltf):
    mag_filter: int | None = None
    wrap_s: Literal[10497, 33071, 33648] = REPEAT
    wrap_t: Literal[10497, 33071, 33648] = REPEAT


class ImageSource(Gltf):
    source: Index


class TextureExtensions(Extensions):
    webp: ImageSource | None = Field(None, alias="EXT_texture_webp")
    avif: ImageSource | None = Field(None, alias="EXT_texture_avif")


class Texture(Gltf):
    source: Index | None = None
    sampler: Index | None = None
    extensions: TextureExtensions = TextureExtensions()


class TextureTransform(Gltf):
    offset: Vec2 = (0.0, 0.0)
    rotation: FiniteFloat = 0.0
    scale: Vec2 = (1.0, 1.0)
    tex_coord: Index | None = None


class TextureInfoExtensions(Extensions):
    transform: TextureTransform | None = Field(None, alias="KHR_texture_transform")


class TextureInfo(Gltf):
    index: Index
    tex_coord: Index = 0
    extensions: TextureInfoExtensions = TextureInfoExtensions()


class PbrMetallicRoughness(Gltf):
    base_color_factor: Vec4 = (1.0, 1.0, 1.0, 1.0)
    base_color_texture: TextureInfo | None = None


class PbrSpecularGlossiness(Gltf):
    diffuse_factor: Vec4 = (1.0, 1.0, 1.0, 1.0)
    diffuse_texture: TextureInfo | None = None
    specular_factor: Vec3 | None = None
    specular_glossiness_texture: TextureInfo | None = None


class EmissiveStrength(Gltf):
    emissive_strength: Annotated[FiniteFloat, Field(ge=0)] = 1.0


class Unlit(Gltf):
    """Only its presence matters."""


class MaterialExtensions(Extensions):
    unlit: Unlit | None = Field(None, alias="KHR_materials_unlit")
    emissive_strength: EmissiveStrength = Field(
        EmissiveStrength(), alias="KHR_materials_emissive_strength"
    )
    specular_glossiness: PbrSpecularGlossiness | None = Field(
        None, alias="KHR_materials_pbrSpecularGlossiness"
    )


class Material(Gltf):
    pbr_metallic_roughness: PbrMetallicRoughness | None = None
    emissive_factor: Vec3 = (0.0, 0.0, 0.0)
    emissive_texture: TextureInfo | None = None
    alpha_mode: Literal["OPAQUE", "MASK", "BLEND"] = "OPAQUE"
    alpha_cutoff: Annotated[FiniteFloat, Field(ge=0)] = 0.5
    double_sided: bool = False
    extensions: MaterialExtensions = MaterialExtensions()
