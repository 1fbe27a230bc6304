"""Decodes a texture's image; its header is checked before pixels are decoded.

Only the decoders of PNG, JPEG, WebP and AVIF are used.
"""

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from vitlens_core.errors import BadSampleError
from vitlens_core.rendering.container import GlbLimits

_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF")
# What image files of other formats start with, for messages.
_OTHERS = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"DDS ": "DDS",
    b"\xabKTX": "KTX",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"<": "HTML or XML",
    b"version https://git-lfs": "a git-lfs pointer",
}


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
        raise BadSampleError(
            f"{owner} is not a readable PNG, JPEG, WebP or AVIF: {_what_it_is(bytes(encoded[:64]))}"
        ) from None
    megapixels = image.width * image.height / 1e6
    if megapixels > limits.max_image_mpx:
        raise BadSampleError(
            f"{owner} has {megapixels:.0f} megapixels; at most {limits.max_image_mpx} are read"
        )
    try:
        return np.asarray(_rgba(image, limits.max_texture_side_px))
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise BadSampleError(f"{owner} is broken: {error}") from None


def _what_it_is(head: bytes) -> str:
    found = next((name for start, name in _OTHERS.items() if head.startswith(start)), None)
    return f"found {found}" if found else f"starts with {head[:8]!r}"


def _rgba(image: Image.Image, max_side_px: int) -> Image.Image:
    image.draft("RGB", (max_side_px, max_side_px))  # a JPEG is decoded at a smaller size at once
    if image.mode.startswith("I"):
        image = _eight_bit_grey(image)
    image = image.convert("RGBA")
    # Rounded up: a whole factor averages boxes of pixels, and the result is at most the side.
    factor = -(-max(image.size) // max_side_px)
    return image if factor <= 1 else image.reduce(factor)


def _eight_bit_grey(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey, which Pillow clips, and keep the tone that it says is transparent."""
    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    clear = image.info.get("transparency")
    if not isinstance(clear, int):
        return Image.fromarray(grey)
    alpha = np.where(values == clear, 0, 255).astype(np.uint8)
    return Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
