"""Reads pictures through Pillow: RGB, grey levels, counts and measurements.

Reads     a path.
Promises  the camera's orientation and the colour profile are applied; deeper numbers than 8 bit
          are scaled, never clipped; pictures with more pixels than Pillow's limit are refused
          before they are decoded, and no format but those listed reaches a decoder.
Axes: H height, W width.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps

from vitlens_core.errors import InputError
from vitlens_core.notes import note
from vitlens_core.readers.files import unreadable
from vitlens_core.readers.formats import (
    AVIF,
    BMP,
    GIF,
    JPEG,
    JPEG_2000,
    NETPBM,
    PICTURES,
    PNG,
    TIFF,
    WEBP,
    identify,
)

# Pillow's names of the formats. A JPEG with several pictures in it is an MPO.
_DECODERS = {
    PNG: ("PNG",),
    JPEG: ("JPEG", "MPO"),
    WEBP: ("WEBP",),
    GIF: ("GIF",),
    BMP: ("BMP",),
    TIFF: ("TIFF",),
    AVIF: ("AVIF",),
    JPEG_2000: ("JPEG2000",),
    NETPBM: ("PPM",),
}
_GREYS_16_BIT = ("I;16", "I;16B", "I;16L", "I;16N")
_MOST_CHROMA = 3  # levels by which JPEG's rounding parts the channels of a grey picture
_SRGB_GAMMA = 1 / 2.2
_GAMMA_TOLERANCE = 0.02


def read_rgb(path: str | Path) -> np.ndarray:
    """Read a picture as uint8 sRGB [H, W, 3], with transparent pixels over white.

    16-bit grey is scaled to 8 bit, and floats in 0..1 to 0..255. Of several pictures in a file,
    the first is read.

    Raises:
        InputError: the file is missing, damaged, no picture, larger than Pillow's limit, or holds
            numbers whose white is not known.
    """
    path, picture = _open(path)
    picture = _in_8_bit(path, picture)
    try:
        picture = _in_srgb(picture)
        if picture.has_transparency_data:
            rgba = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        return np.asarray(picture.convert("RGB"))
    except ValueError as error:
        raise unreadable(path, f"a picture in the mode {picture.mode}", error) from error


def read_counts(path: str | Path) -> np.ndarray:
    """Read the numbers of a one-channel picture: uint8, uint16, int32 or float32 [H, W].

    A picture of equal red, green and blue, in 8 bit, is one of one channel.

    Raises:
        InputError: as `read_rgb`, or the picture has colours.
    """
    path, picture = _open(path)
    if picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L"))
    if picture.mode in _GREYS_16_BIT:
        return np.asarray(picture).astype(np.uint16)
    if picture.mode == "I":
        counts = np.asarray(picture)
        fits = counts.min() >= 0 and counts.max() <= np.iinfo(np.uint16).max
        return counts.astype(np.uint16) if fits else counts
    if picture.mode == "F":
        return np.asarray(picture)
    grey = _grey_of_colours(picture)
    if grey is None:
        raise InputError(
            f"expected one channel in {path}, found mode {picture.mode}; a colour map cannot be "
            "turned back into measurements"
        )
    return grey


def _open(path: str | Path) -> tuple[Path, Image.Image]:
    path, content = identify(path, PICTURES, "a picture")
    try:
        # Pillow only warns between its limit and twice its limit.
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_DECODERS[content]) as picture:
                # Pillow halves the bits of 16-bit colours without a word.
                depth = _bits(picture)
                picture.load()
                turned = ImageOps.exif_transpose(picture)
                turned.info["bits"] = depth
                return path, turned
    except (
        OSError,
        ValueError,
        SyntaxError,  # Pillow's own for a broken PNG
        KeyError,  # of a damaged EXIF
        RuntimeError,  # of the AVIF decoder
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise unreadable(path, f"a {content.name} picture", error) from error


def _bits(picture: ImageFile.ImageFile) -> int:
    """Return the bits of a channel in the file, before decoding."""
    tiles = [str(tile[3]) for tile in picture.tile if tile[3]]
    return 16 if any("16" in tile for tile in tiles) else 8


def _in_8_bit(path: Path, picture: Image.Image) -> Image.Image:
    """Scale grey levels of more than 8 bit, or refuse numbers whose white is not known."""
    if picture.mode in _GREYS_16_BIT:
        return _of_levels(np.asarray(picture) >> 8, picture)
    if picture.mode not in ("I", "F"):
        return picture
    values = np.asarray(picture)
    low, high = values.min(), values.max()
    # A Netpbm or an old PNG of 16 bit has Pillow's mode for 32 bit.
    if picture.mode == "I" and picture.info["bits"] == 16 and low >= 0 and high < 2**16:
        return _of_levels(values >> 8, picture)
    if picture.mode == "F" and np.isfinite(values).all() and low >= 0 and high <= 1:
        return _of_levels(np.rint(values * 255), picture)
    kind = "32-bit integers" if picture.mode == "I" else "floats"
    raise InputError(
        f"expected a picture of 8 or 16 bit, or of floats in 0..1, in {path}, found {kind} in "
        f"{low:g}..{high:g}, whose white is not known; scale them to 0..255"
    )


def _of_levels(levels: np.ndarray, source: Image.Image) -> Image.Image:
    picture = Image.fromarray(levels.astype(np.uint8))
    picture.info = {name: v for name, v in source.info.items() if name != "transparency"}
    return picture


def _in_srgb(picture: Image.Image) -> Image.Image:
    """Apply the picture's colour profile, or PNG's gamma."""
    profile = picture.info.get("icc_profile")
    if profile:
        return _by_profile(picture, profile)
    gamma = picture.info.get("gamma")
    if gamma and "srgb" not in picture.info and abs(gamma - _SRGB_GAMMA) > _GAMMA_TOLERANCE:
        return _by_gamma(picture, gamma)
    return picture


def _by_profile(picture: Image.Image, profile: bytes) -> Image.Image:
    srgb = ImageCms.createProfile("sRGB")
    try:
        stated = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        # The usual profile: converting from it would only round.
        if "srgb" in ImageCms.getProfileDescription(stated).lower():
            return picture
        alpha = picture.getchannel("A") if picture.mode in ("RGBA", "LA") else None
        plain = picture.convert(
            {"P": "RGB", "RGBA": "RGB", "LA": "L"}.get(picture.mode, picture.mode)
        )
        converted = ImageCms.profileToProfile(plain, stated, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        note(f"its colour profile was not applied: {error}")
        return picture
    assert converted is not None
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def _by_gamma(picture: Image.Image, gamma: float) -> Image.Image:
    """Bring levels with another gamma, such as linear light (1.0), to that of sRGB."""
    bands = len(picture.getbands())
    if picture.mode not in ("L", "LA", "RGB", "RGBA"):
        return picture
    levels = [round(255 * (level / 255) ** (_SRGB_GAMMA / gamma)) for level in range(256)]
    has_alpha = picture.mode.endswith("A")
    tables = levels * (bands - has_alpha) + list(range(256)) * has_alpha
    return picture.point(tables)


def _grey_of_colours(picture: Image.Image) -> np.ndarray | None:
    """Return the grey levels [H, W] of opaque colours that are grey, or None."""
    if picture.info["bits"] == 16 or picture.mode not in ("RGB", "RGBA", "LA", "P", "PA"):
        return None
    rgba = np.asarray(picture.convert("RGBA"))
    channels = rgba[..., :3].astype(np.int16)
    if np.ptp(channels, axis=-1).max() > _MOST_CHROMA or rgba[..., 3].min() < 255:
        return None
    # Green, which JPEG's conversion rounds least.
    return rgba[..., 1]
