"""Reduces glTF materials to the layers that make a surface's colour: `surface` combines them."""

from dataclasses import dataclass, field

import numpy as np

from vitlens_core.errors import BadSampleError
from vitlens_core.rendering import schema
from vitlens_core.rendering.container import GlbLimits
from vitlens_core.rendering.extensions import check_used
from vitlens_core.rendering.glb import Binary, item
from vitlens_core.rendering.images import decode_image
from vitlens_core.rendering.mesh import Layer, Material, Texture
from vitlens_core.rendering.schema_base import Vec4
from vitlens_core.rendering.schema_materials import (
    CLAMP,
    MIRROR,
    NEAREST,
    PbrMetallicRoughness,
    Sampler,
    TextureInfo,
)

# Stronger light is shown no brighter; a product of it with a texel stays finite.
_BRIGHTEST = 1e4
_WHITE = (1.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class UvSource:
    """The TEXCOORD set that a layer reads, and the 2×3 matrix that is applied to it."""

    texcoord: int = 0
    matrix: np.ndarray = field(default_factory=lambda: np.eye(2, 3))

    def same(self, other: "UvSource") -> bool:
        return self.texcoord == other.texcoord and np.array_equal(self.matrix, other.matrix)


class Materials:
    """The materials of a document by index; each is decoded once."""

    def __init__(self, document: schema.Document, binary: Binary, limits: GlbLimits) -> None:
        self._document = document
        self._binary = binary
        self._limits = limits
        self._textures: dict[int, tuple[Texture, np.ndarray]] = {}
        self._materials: dict[int | None, tuple[Material, list[UvSource]]] = {}

    def get(self, index: int | None) -> tuple[Material, list[UvSource]]:
        """Return material `index` (None: glTF's default, white) and its sources of uv."""
        if index not in self._materials:
            self._materials[index] = self._load(index)
        return self._materials[index]

    def _load(self, index: int | None) -> tuple[Material, list[UvSource]]:
        if index is None:
            return Material(), [UvSource()]
        source = item(self._document.materials, index, "material")
        if source.pbr_metallic_roughness is None:
            check_used(source.extensions.unread, f"the colour of material {index}")
        sources: list[UvSource] = []
        base, specular = self._reflection(source, sources)
        material = Material(
            base=base,
            specular=specular,
            emission=self._emission(source, sources),
            alpha_mode=source.alpha_mode,
            alpha_cutoff=source.alpha_cutoff,
            unlit=source.extensions.unlit is not None,
            double_sided=source.double_sided,
        )
        return material, sources or [UvSource()]

    def _reflection(
        self, source: schema.Material, sources: list[UvSource]
    ) -> tuple[Layer, Layer | None]:
        """Return the base layer, and the specular one of specular-glossiness."""
        glossy = source.extensions.specular_glossiness
        if glossy is None:
            pbr = source.pbr_metallic_roughness or PbrMetallicRoughness()
            return self._layer(pbr.base_color_texture, pbr.base_color_factor, sources), None
        base = self._layer(glossy.diffuse_texture, glossy.diffuse_factor, sources)
        texture, factor = glossy.specular_glossiness_texture, glossy.specular_factor
        # The default is a white mirror whatever the diffuse colour: who states one means that.
        is_stated = texture is not None or factor is not None
        # An unlit material reflects nothing.
        if source.extensions.unlit is not None or not is_stated:
            return base, None
        return base, self._layer(texture, (*(factor or _WHITE), 1.0), sources)

    def _emission(self, source: schema.Material, sources: list[UvSource]) -> Layer | None:
        if source.extensions.unlit is not None or not any(source.emissive_factor):
            return None
        strength = source.extensions.emissive_strength.emissive_strength
        red, green, blue = source.emissive_factor
        factor = (red * strength, green * strength, blue * strength, 1.0)
        return self._layer(source.emissive_texture, factor, sources, top=_BRIGHTEST)

    def _layer(
        self,
        info: TextureInfo | None,
        factor: Vec4,
        sources: list[UvSource],
        top: float = 1.0,
    ) -> Layer:
        """Make a layer; `sources` gets the uv that it reads unless it is there already."""
        red, green, blue, alpha = np.clip(factor, 0, top).tolist()
        if info is None:
            return Layer(None, (red, green, blue, alpha))
        if info.index not in self._textures:
            self._textures[info.index] = self._texture(info.index)
        texture, tiles = self._textures[info.index]
        texcoord, matrix = _uv_transform(info)
        # A mirrored texture holds two copies of its image.
        wanted = UvSource(texcoord, matrix / tiles[:, None])
        row = next((n for n, known in enumerate(sources) if known.same(wanted)), len(sources))
        if row == len(sources):
            sources.append(wanted)
        return Layer(texture, (red, green, blue, alpha), row)

    def _texture(self, index: int) -> tuple[Texture, np.ndarray]:
        """Read a texture, and how many copies of its image it holds along u and v [2]."""
        texture = item(self._document.textures, index, "texture")
        source = _image_of(texture, index)
        sampler = Sampler()
        if texture.sampler is not None:
            sampler = item(self._document.samplers, texture.sampler, "sampler")
        encoded = self._binary.image_bytes(source)
        texels, tiles = decode_image(encoded, f"image {source}", self._limits), np.ones(2)
        for axis, wrap in enumerate((sampler.wrap_s, sampler.wrap_t)):
            if wrap == MIRROR:  # the image beside its mirror image, which then repeats
                texels = np.concatenate([texels, np.flip(texels, 1 - axis)], axis=1 - axis)
                tiles[axis] = 2
        repeat = (sampler.wrap_s != CLAMP, sampler.wrap_t != CLAMP)
        return Texture(texels, repeat, sampler.mag_filter == NEAREST), tiles


def _image_of(texture: schema.Texture, index: int) -> int:
    """Return the image that is shown: in a format that is read, else the file's fallback."""
    for better in (texture.extensions.webp, texture.extensions.avif):
        if better is not None:
            return better.source
    if texture.source is not None:
        return texture.source
    stored = ", ".join(texture.extensions.unread)
    how = f"; it is stored in {stored}, which is not read" if stored else ""
    raise BadSampleError(f"texture {index} has no image in PNG, JPEG, WebP or AVIF{how}")


def _uv_transform(info: TextureInfo) -> tuple[int, np.ndarray]:
    """Return the TEXCOORD set and the matrix of KHR_texture_transform: scale, rotate, offset."""
    transform = info.extensions.transform
    if transform is None:
        return info.tex_coord, np.eye(2, 3)
    cos, sin = np.cos(transform.rotation), np.sin(transform.rotation)
    (sx, sy), (dx, dy) = transform.scale, transform.offset
    matrix = np.array([[cos * sx, sin * sy, dx], [-sin * sx, cos * sy, dy]])
    return info.tex_coord if transform.tex_coord is None else transform.tex_coord, matrix
