"""formats: the one table of file formats: their names, endings and first bytes.

The content of a file decides what it is, and its ending only where content cannot tell (CSV, OBJ).
The table gives the readers, the messages, the documentation and the service's form the same list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from vitlens_core.errors import InputError

# Longer than any header that is compared below; a tar's name for itself lies at byte 257.
HEAD_BYTES = 4096
_SPACE = b" \t\r\n\xef\xbb\xbf"  # white space, and the mark that some editors put first


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        name: its name for people.
        endings: endings of its files, lower case, the usual one first.
        starts: first bytes of its files, any of these; `?` stands for any byte.
        looks: tells from the first bytes and the file's size, where fixed bytes do not.
    """

    name: str
    endings: tuple[str, ...]
    starts: tuple[bytes, ...] = ()
    looks: Callable[[bytes, int], bool] | None = None

    def fits(self, head: bytes, size: int) -> bool:
        """Whether the first bytes of a file of `size` bytes are those of this format."""
        if any(_begins(head, start) for start in self.starts):
            return True
        return self.looks is not None and self.looks(head, size)


def _begins(head: bytes, start: bytes) -> bool:
    pairs = zip(start, head, strict=False)
    return len(head) >= len(start) and all(a in (ord("?"), b) for a, b in pairs)


def _is_mpeg_audio(head: bytes, size: int) -> bool:
    # 11 bits of synchronisation, then a layer: 00 is AAC's.
    # FF FE, a rare layer I, is the mark of UTF-16.
    return _begins(head, b"\xff?") and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 in (2, 4)


def _is_adts(head: bytes, size: int) -> bool:
    return _begins(head, b"\xff?") and head[1] & 0xF6 == 0xF0


def _brands(head: bytes) -> set[bytes]:
    """Return the brands of an ISO media file; empty for other files."""
    if not _begins(head, b"????ftyp"):
        return set()
    listed = head[8 : int.from_bytes(head[:4], "big")]
    return {listed[at : at + 4] for at in range(0, len(listed), 4)}


def _is_avif(head: bytes, size: int) -> bool:
    return bool(_brands(head) & {b"avif", b"avis"})


def _is_heic(head: bytes, size: int) -> bool:
    return bool(_brands(head) & {b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1"})


def _is_binary_stl(head: bytes, size: int) -> bool:
    # A header of 80 bytes, the number of triangles, and 50 bytes for each.
    return len(head) >= 84 and size == 84 + 50 * int.from_bytes(head[80:84], "little")


def _is_text_stl(head: bytes, size: int) -> bool:
    return head.lstrip(_SPACE).startswith(b"solid") and b"facet" in head


_GLTF_KEYS = frozenset(
    b"accessors animations asset bufferViews buffers cameras extensions extensionsRequired "
    b"extensionsUsed extras images materials meshes nodes samplers scene scenes skins "
    b"textures".split()
)


def _is_gltf(head: bytes, size: int) -> bool:
    # The order of the keys is free, and the first array may be longer than the head.
    start = re.match(rb'\{\s*"(\w+)"', head.lstrip(_SPACE))
    return start is not None and (start[1] in _GLTF_KEYS or b'"asset"' in head)


_OBJ_LINE = re.compile(rb"\s*(?:#.*|(?:v|vt|vn|f|o|g|s|l|p|mtllib|usemtl)(?:\s.*)?|)")


def _is_obj(head: bytes, size: int) -> bool:
    lines = head.splitlines()[:-1] or head.splitlines()
    return re.search(rb"(?m)^\s*v\s", head) is not None and all(map(_OBJ_LINE.fullmatch, lines))


def _is_off(head: bytes, size: int) -> bool:
    return re.match(rb"(?:ST)?C?N?4?n?OFF\s*[\d#\n\r]", head.lstrip(_SPACE)) is not None


def _is_dae(head: bytes, size: int) -> bool:
    return re.search(rb"<(?:\w+:)?COLLADA\b", head) is not None


def _is_mpeg_ts(head: bytes, size: int) -> bool:
    return len(head) > 376 and head[0] == head[188] == head[376] == 0x47


def _is_page(head: bytes, size: int) -> bool:
    return head.lstrip(_SPACE).lower().startswith((b"<!doctype html", b"<html"))


NPY = Format("NPY", (".npy",), (b"\x93NUMPY",))
NPZ = Format("NPZ", (".npz",), (b"PK\x03\x04", b"PK\x05\x06"))
TEXT = Format("text", (".txt",))
TABLE = Format("CSV", (".csv", ".tsv", ".txt", ".xyz"))

PNG = Format("PNG", (".png", ".apng"), (b"\x89PNG\r\n\x1a\n",))
JPEG = Format("JPEG", (".jpg", ".jpeg", ".jfif", ".jpe", ".mpo"), (b"\xff\xd8\xff",))
WEBP = Format("WebP", (".webp",), (b"RIFF????WEBP",))
GIF = Format("GIF", (".gif",), (b"GIF87a", b"GIF89a"))
BMP = Format("BMP", (".bmp", ".dib"), (b"BM",))
TIFF = Format(
    "TIFF", (".tif", ".tiff"), (b"II*\0", b"MM\0*", b"II+\0\x08\0", b"MM\0+\0\x08")
)  # the last two have 64-bit offsets
AVIF = Format("AVIF", (".avif",), looks=_is_avif)
JPEG_2000 = Format("JPEG 2000", (".jp2", ".j2k", ".jpx"), (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"))
NETPBM = Format(
    "Netpbm",
    (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    looks=lambda head, size: re.match(rb"P[1-6fF]\s", head) is not None,
)

WAV = Format("WAV", (".wav", ".wave"), (b"RIFF????WAVE", b"RIFX????WAVE", b"RF64????WAVE"))
FLAC = Format("FLAC", (".flac",), (b"fLaC",))
OGG = Format("Ogg", (".ogg", ".oga", ".opus", ".ogv"), (b"OggS",))
MP3 = Format("MP3", (".mp3", ".mp2"), (b"ID3",), _is_mpeg_audio)
AIFF = Format("AIFF", (".aiff", ".aif", ".aifc"), (b"FORM????AIFF", b"FORM????AIFC"))
AU = Format("AU", (".au", ".snd"), (b".snd", b"dns."))
CAF = Format("CAF", (".caf",), (b"caff",))
W64 = Format("W64", (".w64",), (b"riff\x2e\x91\xcf\x11",))
AAC = Format("AAC", (".aac",), looks=_is_adts)
AMR = Format("AMR", (".amr",), (b"#!AMR",))

MP4 = Format(
    "MP4",
    (".mp4", ".m4a", ".m4v", ".mov", ".3gp", ".3g2", ".m4b", ".qt"),
    # Without `ftyp` it is an older QuickTime file.
    (b"????ftyp", b"????moov", b"????mdat", b"????wide", b"????free", b"????skip"),
)
MATROSKA = Format("WebM or Matroska", (".webm", ".mkv", ".mka"), (b"\x1aE\xdf\xa3",))
AVI = Format("AVI", (".avi",), (b"RIFF????AVI ",))
MPEG = Format("MPEG", (".mpg", ".mpeg", ".vob"), (b"\0\0\1\xba", b"\0\0\1\xb3"))
MPEG_TS = Format("MPEG-TS", (".ts", ".mts", ".m2ts"), looks=_is_mpeg_ts)
ASF = Format("WMV or WMA", (".wmv", ".wma", ".asf"), (b"0&\xb2u\x8ef\xcf\x11",))
FLV = Format("FLV", (".flv",), (b"FLV\1",))

GLB = Format("GLB", (".glb",), (b"glTF",))
GLTF = Format("glTF", (".gltf",), looks=_is_gltf)
PLY = Format("PLY", (".ply",), (b"ply\n", b"ply\r", b"ply "))
OBJ = Format("OBJ", (".obj",), looks=_is_obj)
STL = Format(
    "STL", (".stl",), looks=lambda h, size: _is_binary_stl(h, size) or _is_text_stl(h, size)
)
OFF = Format("OFF", (".off", ".coff"), looks=_is_off)
DAE = Format("COLLADA", (".dae",), looks=_is_dae)
STEP = Format("STEP", (".step", ".stp"), (b"ISO-10303-21",))
# To its first bytes a 3MF is an NPZ, or any other ZIP: its ending tells.
THREE_MF = Format("3MF", (".3mf",))

ARRAYS = (NPY, NPZ, TABLE)
PICTURES = (PNG, JPEG, WEBP, GIF, BMP, TIFF, AVIF, JPEG_2000, NETPBM)
SOUNDS = (WAV, FLAC, OGG, MP3, AIFF, AU, CAF, W64, AAC, AMR, MP4, MATROSKA, ASF)
VIDEOS = (MP4, MATROSKA, AVI, GIF, OGG, MPEG, MPEG_TS, ASF, FLV)
MESHES = (GLB, GLTF, OBJ, STL, OFF)
OBJECTS = (*MESHES, PLY, DAE, THREE_MF, STEP)
CLOUDS = (NPY, NPZ, PLY, TABLE, *MESHES)

# Named in messages only.
_OTHERS = (
    Format("HEIC", (".heic", ".heif"), looks=_is_heic),
    Format("PDF", (".pdf",), (b"%PDF",)),
    Format("PostScript", (".eps", ".ps"), (b"%!PS", b"\xc5\xd0\xd3\xc6")),
    Format("Photoshop", (".psd",), (b"8BPS",)),
    Format("HDF5 or MATLAB 7.3", (".h5", ".hdf5", ".mat"), (b"\x89HDF\r\n\x1a\n",)),
    Format("MATLAB", (".mat",), (b"MATLAB 5.0",)),
    Format("gzip", (".gz",), (b"\x1f\x8b",)),
    Format("FBX", (".fbx",), (b"Kaydara FBX", b"; FBX")),
    Format("Blender", (".blend",), (b"BLENDER",)),
    DAE,
    STEP,
    Format("USD", (".usd", ".usda", ".usdc", ".usdz"), (b"#usda", b"PXR-USDC")),
    Format("VRML", (".wrl", ".vrml"), (b"#VRML",)),
    Format("PCD", (".pcd",), (b"# .PCD", b"VERSION .7\n")),
    Format("LAS", (".las", ".laz"), (b"LASF",)),
    Format("git-lfs pointer", (), (b"version https://git-lfs",)),
    Format("HTML", (".html",), looks=_is_page),
    Format("UTF-16 text", (), (b"\xff\xfe", b"\xfe\xff")),
    Format("playlist", (".m3u8", ".ffconcat"), (b"#EXTM3U", b"ffconcat version")),
)
# More special ones first: to its first bytes an AVIF is an MP4.
_BY_CONTENT = tuple(
    dict.fromkeys((AVIF, JPEG_2000, *_OTHERS, *ARRAYS, *PICTURES, *VIDEOS, PLY, *MESHES, *SOUNDS))
)
# In folders of objects, named where they lie: their content may tell nothing.
UNREAD_OBJECTS = {
    ".3ds": "3D Studio",
    ".blend": "Blender",
    ".c4d": "Cinema 4D",
    ".fbx": "FBX",
    ".iges": "IGES",
    ".igs": "IGES",
    ".lwo": "LightWave",
    ".ma": "Maya",
    ".max": "3ds Max",
    ".mb": "Maya",
    ".sldprt": "SolidWorks",
    ".skp": "SketchUp",
    ".usd": "USD",
    ".usda": "USD",
    ".usdc": "USD",
    ".usdz": "USD",
    ".vrml": "VRML",
    ".wrl": "VRML",
    ".x3d": "X3D",
}
_FROM_ENDING = (TABLE, OBJ, STL, OFF, MP3, MPEG, MPEG_TS)  # content may not tell these


def endings(formats: Iterable[Format]) -> tuple[str, ...]:
    """Return every ending of some formats once, in their order."""
    return tuple(dict.fromkeys(ending for one in formats for ending in one.endings))


def names(formats: Iterable[Format]) -> str:
    """Return the names of formats for a message: `PNG, JPEG`."""
    return ", ".join(dict.fromkeys(one.name for one in formats))


def is_read(content: Format | None) -> bool:
    """Whether any reader takes a format."""
    return content is not None and content not in _OTHERS


def of_content(head: bytes, size: int) -> Format | None:
    """Return the format that the first bytes of a file of `size` bytes tell, if any."""
    return next((one for one in _BY_CONTENT if one.fits(head, size)), None)


def existing(path: str | Path, what: str) -> Path:
    """Check that `path` is a file with content.

    Raises:
        InputError: the file is missing, a folder, or empty.
    """
    path = Path(path)
    if not path.is_file():
        occupant = "a folder" if path.is_dir() else "nothing"
        raise InputError(f"expected {what} at {path}, found {occupant}")
    if not path.stat().st_size:
        raise InputError(f"expected {what}, found an empty file: {path}")
    return path


def identify(path: str | Path, accepted: Iterable[Format], what: str) -> tuple[Path, Format]:
    """Check that `path` is a file with content in one of the accepted formats.

    Args:
        what: the content expected, for messages ("a sound").

    Returns:
        The path, and the format that its content tells, or else its ending.

    Raises:
        InputError: the file is missing, a folder, empty, or of another format.
    """
    accepted = tuple(accepted)
    expected = f"{what} ({names(accepted)})"
    path = existing(path, expected)
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    content = of_content(head, path.stat().st_size)
    found = content if content in accepted else None
    if content is NPZ and THREE_MF in accepted and path.suffix.lower() in THREE_MF.endings:
        found = THREE_MF
    if content is None:
        by_ending = (one for one in accepted if path.suffix.lower() in one.endings)
        found = next((one for one in by_ending if one in _FROM_ENDING), None)
    if found is None:
        raise InputError(f"expected {expected}, found {_described(content, head)}: {path}")
    return path, found


def _described(content: Format | None, head: bytes) -> str:
    if content is None:
        return f"a file that begins with {head[:12]!r}"
    return f"{content.name}"
