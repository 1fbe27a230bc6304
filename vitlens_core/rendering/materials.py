"""Reduces glTF materials to base colour: decodes textures, resolves unlit and emissive ones.

Image headers are checked before pixels are decoded; only PNG, JPEG and WebP decoders are used.
"""

import io
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, UnidentifiedImageError

from vitlens_core.errors import BadSampleError
from vitlens_core.rendering import schema
from vitlens_core.rendering.glb import Binary, GlbLimits, item
from vitlens_core.rendering.mesh import Material, Texture

_FORMATS = ("PNG", "JPEG", "WEBP")
_BLACK = 0.01
_CLAMP, _MIRROR = 33071, 33648  # OpenGL's numbers; the third, 10497, repeats


@dataclass(frozen=True)
class UvSource:
    """The TEXCOORD set that a material reads, and the 2×3 matrix that is applied to it."""

    texcoord: int
    matrix: np.ndarray


class Materials:
    """The materials of a document by index; each is decoded once."""

    def __init__(self, document: schema.Document, binary: Binary, limits: GlbLimits) -> None:
        self._document = document
        self._binary = binary
        self._limits = limits
        self._textures: dict[int, tuple[Texture, np.ndarray]] = {}
        self._materials: dict[int | None, tuple[Material, UvSource]] = {}

    def get(self, index: int | None) -> tuple[Material, UvSource]:
        """Return material `index` (None: glTF's default, white) and its source of uv."""
        if index not in self._materials:
            self._materials[index] = self._load(index)
        return self._materials[index]

    def _load(self, index: int | None) -> tuple[Material, UvSource]:
        if index is None:
            return Material(), UvSource(0, np.eye(2, 3))
        source = item(self._document.materials, index, "material")
        info, factor, self_lit = _base_colour(source)
        uv_source, texture = _uv_source(info), None
        if info is not None:
            if info.index not in self._textures:
                self._textures[info.index] = self._texture(info.index)
            texture, tiles = self._textures[info.index]
            # A mirrored texture holds two copies of its image.
            uv_source = replace(uv_source, matrix=uv_source.matrix / tiles[:, None])
        red, green, blue, alpha = np.clip(factor, 0, 1).tolist()
        material = Material(
            texture=texture,
            factor=(red, green, blue, alpha),
            alpha_mode=source.alpha_mode,
            alpha_cutoff=source.alpha_cutoff,
            unlit=self_lit or source.extensions.unlit is not None,
        )
        return material, uv_source

    def _texture(self, index: int) -> tuple[Texture, np.ndarray]:
        """Read a texture, and how many copies of its image it holds along u and v [2]."""
        texture = item(self._document.textures, index, "texture")
        webp = texture.extensions.webp
        source = texture.source if webp is None else webp.source
        if source is None:
            raise BadSampleError(f"texture {index} has no image in PNG, JPEG or WebP")
        sampler = schema.Sampler()
        if texture.sampler is not None:
            sampler = item(self._document.samplers, texture.sampler, "sampler")
        encoded = self._binary.image_bytes(source)
        texels, tiles = decode_image(encoded, f"image {source}", self._limits), np.ones(2)
        for axis, wrap in enumerate((sampler.wrap_s, sampler.wrap_t)):
            if wrap == _MIRROR:  # the image beside its mirror image, which then repeats
                texels = np.concatenate([texels, np.flip(texels, 1 - axis)], axis=1 - axis)
                tiles[axis] = 2
        return Texture(texels, (sampler.wrap_s != _CLAMP, sampler.wrap_t != _CLAMP)), tiles


def _base_colour(
    material: schema.Material,
) -> tuple[schema.TextureInfo | None, schema.Vec4, bool]:
    """Return texture, linear RGBA factor, and whether the surface emits the colour as light."""
    glossy = material.extensions.specular_glossiness
    if glossy is not None:
        info, factor = glossy.diffuse_texture, glossy.diffuse_factor
    else:
        pbr = material.pbr_metallic_roughness
        info, factor = pbr.base_color_texture, pbr.base_color_factor
    red, green, blue = material.emissive_factor
    # "Shadeless" exports have their picture in the emission and a black base colour.
    if max(factor[:3]) < _BLACK and max(red, green, blue) > _BLACK:
        return material.emissive_texture, (red, green, blue, factor[3]), True
    return info, factor, False


def _uv_source(info: schema.TextureInfo | None) -> UvSource:
    """Compute the matrix of KHR_texture_transform: scale, then rotate, then offset."""
    if info is None:
        return UvSource(0, np.eye(2, 3))
    transform = info.extensions.transform
    if transform is None:
        return UvSource(info.tex_coord, np.eye(2, 3))
    cos, sin = np.cos(transform.rotation), np.sin(transform.rotation)
    (sx, sy), (dx, dy) = transform.scale, transform.offset
    matrix = np.array([[cos * sx, sin * sy, dx], [-sin * sx, cos * sy, dy]])
    texcoord = info.tex_coord if transform.tex_coord is None else transform.tex_coord
    return UvSource(texcoord, matrix)


def decode_image(encoded: bytes | memoryview, owner: str, limits: GlbLimits) -> np.ndarray:
    """Decode an image [H, W, 4] uint8, averaged down to `limits.max_texture_side_px`.

    Raises:
        BadSampleError: its format is unknown, it has too many pixels, or it is broken.
    """
    try:
        image = Image.open(io.BytesIO(encoded), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise BadSampleError(f"{owner} has too many pixels") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        raise BadSampleError(f"{owner} is not a readable PNG, JPEG or WebP") from None
    megapixels = image.width * image.height / 1e6
    if megapixels > limits.max_image_mpx:
        raise BadSampleError(
            f"{owner} has {megapixels:.0f} megapixels; at most {limits.max_image_mpx} are read"
        )
    try:
        return np.asarray(_rgba(image, limits.max_texture_side_px))
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise BadSampleError(f"{owner} is broken: {error}") from None


def _rgba(image: Image.Image, max_side_px: int) -> Image.Image:
    image.draft("RGB", (max_side_px, max_side_px))  # a JPEG is decoded at a smaller size at once
    if image.mode.startswith("I"):  # Pillow clips 16-bit grey instead of scaling it
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = image.convert("RGBA")
    # Rounded up: a whole factor averages boxes of pixels, and the result is at most the side.
    factor = -(-max(image.size) // max_side_px)
    return image if factor <= 1 else image.reduce(factor)
