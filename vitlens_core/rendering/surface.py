"""What colour a surface has: the one rule, for point sampling; `shaders` states it for GL.

    base = base layer × vertex colour, or its conversion from specular-glossiness
    colour = base + emission, brought back to 1 at its brightest channel

All in linear light. Axes: n places of a surface, K corners of a face.
"""

from collections.abc import Callable

import numpy as np

from vitlens_core.rendering.colour import srgb_to_linear
from vitlens_core.rendering.mesh import Layer, Part, Texture

# Reflectance of a dielectric, and the weights of a colour's perceived brightness, as Khronos'
# conversion to metallic-roughness has them.
DIELECTRIC = 0.04
# Up to here nothing is metallic. A little above it: 8 bits store 0.04 as 0.0409 at most, and the
# conversion would take a black plastic for a metal.
METALLIC_FROM = 0.041
BRIGHTNESS = (0.299, 0.587, 0.114)
_FAINTEST = 1e-6
# A table of the 256 values is faster than a power for every texel.
_TEXEL_TO_LINEAR = srgb_to_linear(np.arange(256) / 255).astype(np.float32)


def blend(values: np.ndarray, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Interpolate per-vertex values [P, C] at corners [n, K] by weights [n, K]: [n, C]."""
    return np.einsum("nk,nkc->nc", weights, values[corners])


def surface_colour(part: Part, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute linear RGBA [n, 4] at places of a part's faces."""
    material = part.material
    rgba = _layer(part, material.base, corners, weights, blend(part.colours, corners, weights))
    rgb = rgba[:, :3]
    if material.specular is not None:
        rgb = base_of_specular(rgb, _layer(part, material.specular, corners, weights)[:, :3])
    if material.emission is not None:
        rgb = rgb + _layer(part, material.emission, corners, weights)[:, :3]
        rgb = rgb / np.maximum(1, rgb.max(axis=1, keepdims=True))
    rgba[:, :3] = rgb
    return rgba


def surface_alpha(part: Part, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute alpha [n] alone, as `surface_colour` does."""
    base = part.material.base
    alpha = blend(part.colours[:, 3:], corners, weights)[:, 0] * np.float32(base.factor[3])
    if base.texture is not None:
        uv = blend(part.uv[base.uv], corners, weights)
        alpha = alpha * _sampled(base.texture, uv, _alpha_of)[:, 0]
    return alpha


def base_of_specular(diffuse: np.ndarray, specular: np.ndarray) -> np.ndarray:
    """Convert linear diffuse and specular colours [n, 3] to a base colour [n, 3].

    A metal's colour is its specular one. The conversion is that of Khronos' extension
    KHR_materials_pbrSpecularGlossiness.
    """
    diffuse_share = 1 - specular.max(axis=1, keepdims=True)
    metallic = _metallic(_brightness(diffuse), _brightness(specular), diffuse_share)
    kept = diffuse_share / (1 - DIELECTRIC) / np.maximum(1 - metallic, _FAINTEST)
    of_metal = (specular - DIELECTRIC * (1 - metallic)) / np.maximum(metallic, _FAINTEST)
    weight = metallic**2
    return np.clip(diffuse * kept * (1 - weight) + of_metal * weight, 0, 1)


def _brightness(rgb: np.ndarray) -> np.ndarray:
    return np.sqrt(rgb**2 @ np.array(BRIGHTNESS, rgb.dtype))[:, None]


def _metallic(diffuse: np.ndarray, specular: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Solve for the metallic share [n, 1] that gives both brightnesses."""
    linear = diffuse * share / (1 - DIELECTRIC) + specular - 2 * DIELECTRIC
    root = np.sqrt(np.maximum(linear**2 - 4 * DIELECTRIC * (DIELECTRIC - specular), 0))
    solved = np.clip((root - linear) / (2 * DIELECTRIC), 0, 1)
    return np.where(specular < METALLIC_FROM, 0, solved)


def _layer(
    part: Part,
    layer: Layer,
    corners: np.ndarray,
    weights: np.ndarray,
    vertex_colours: np.ndarray | None = None,
) -> np.ndarray:
    """Compute vertex colours [n, 4] (white if None) × factor × texture, [n, 4]."""
    factor = np.array(layer.factor, np.float32)
    colours = np.tile(factor, (len(corners), 1))
    if vertex_colours is not None:
        colours = vertex_colours * factor
    if layer.texture is None:
        return colours
    return colours * sample_texture(layer.texture, blend(part.uv[layer.uv], corners, weights))


def sample_texture(texture: Texture, uv: np.ndarray) -> np.ndarray:
    """Sample a texture at uv [n, 2], bilinearly or nearest: linear RGBA [n, 4] float32."""
    return _sampled(texture, uv, _linear)


def _linear(texels: np.ndarray) -> np.ndarray:
    linear = _TEXEL_TO_LINEAR[texels]
    linear[:, 3] = texels[:, 3] / np.float32(255)
    return linear


def _alpha_of(texels: np.ndarray) -> np.ndarray:
    return texels[:, 3:] / np.float32(255)


def _sampled(
    texture: Texture, uv: np.ndarray, decode: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    height, width = texture.texels.shape[:2]
    # float64: uv of repeated textures can be large.
    x, y = uv[:, 0].astype(np.float64) * width, uv[:, 1].astype(np.float64) * height
    if texture.nearest:
        row = _wrapped(np.floor(y), height, texture.repeat[1])
        column = _wrapped(np.floor(x), width, texture.repeat[0])
        return decode(texture.texels[row, column])
    x, y = x - 0.5, y - 0.5  # texel centres lie at half numbers
    left, top = np.floor(x), np.floor(y)
    columns = [_wrapped(left + k, width, texture.repeat[0]) for k in (0, 1)]
    rows = [_wrapped(top + k, height, texture.repeat[1]) for k in (0, 1)]
    across, along = (x - left).astype(np.float32), (y - top).astype(np.float32)
    result: np.ndarray | np.float32 = np.float32(0)
    for row, row_weight in zip(rows, (1 - along, along), strict=True):
        for column, column_weight in zip(columns, (1 - across, across), strict=True):
            texels = decode(texture.texels[row, column])
            result = result + (row_weight * column_weight)[:, None] * texels
    return np.asarray(result)


def _wrapped(index: np.ndarray, size: int, repeat: bool) -> np.ndarray:
    """Bring texel indices into 0..size−1, by repeating or by clamping."""
    inside = np.mod(index, size) if repeat else np.clip(index, 0, size - 1)
    return inside.astype(np.int64)
