"""Ten malformed inputs per modality, each with words its error must say.

An input is a raw array, or a file: its name, a function that writes it, and reading options.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from PIL import Image


@dataclass(frozen=True)
class File:
    name: str
    write: Callable[[Path], Any]
    options: dict[str, Any] = field(default_factory=dict)


def _bytes(name: str, content: bytes, **options: Any) -> File:
    return File(name, lambda path: path.write_bytes(content), options)


def _array(name: str, array: np.ndarray, **options: Any) -> File:
    return File(name, lambda path: np.save(path, array, allow_pickle=True), options)


def _picture(name: str, pixels: np.ndarray, **options: Any) -> File:
    return File(name, lambda path: Image.fromarray(pixels).save(path), options)


def _absent(name: str) -> File:
    return File(name, lambda path: None)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _with(array: np.ndarray, value: float) -> np.ndarray:
    changed = array.copy()
    changed.flat[3] = value
    return changed


_RNG = np.random.default_rng(0)
_RGB = _RNG.integers(256, size=(32, 40, 3), dtype=np.uint8)
_COUNTS = _RNG.integers(1000, size=(32, 40)).astype(np.uint16)
_GREY = _COUNTS.astype(np.uint8)
_MAP = _RNG.random((32, 40), dtype=np.float32)
_WAVE = _RNG.normal(size=16_000).astype(np.float32)
_CLOUD = _RNG.random((9000, 6), dtype=np.float32)
_IMU = _RNG.normal(size=(6, 2400)).astype(np.float32)
_EEG = _RNG.normal(size=(128, 500)).astype(np.float32)
_PLY_OF_X = b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n0\n"
_CAMERA = {"focal_px": 500.0, "baseline_m": 0.075}


def _sound(name: str, samples: int) -> File:
    """A WAV under any name."""
    return File(name, lambda path: soundfile.write(path, _WAVE[:samples], 16_000, format="WAV"))


_PICTURE_FILES = [
    ("absent", _absent("a.png"), "found nothing"),
    ("empty file", _bytes("a.png", b""), "empty file"),
    ("not a picture", _bytes("a.png", b"<html>404</html>"), "cannot be read as a picture"),
    ("truncated", _bytes("a.png", _png(_RGB)[:200]), "cannot be read as a picture"),
    ("wrong ending", _bytes("a.txt", b"abc"), r"expected a picture \("),
]

MALFORMED: dict[str, list[tuple[str, Any, str]]] = {
    "image": [
        *_PICTURE_FILES,
        ("floats", _RGB / 255, "uint8 in 0..255, found float64"),
        ("grey", _RGB[..., 0], r"\[H, W, 3\], found \[32, 40\]"),
        ("channels first", _RGB.transpose(2, 0, 1), r"found \[3, 32, 40\]"),
        ("no pixel", _RGB[:0], r"found \[0, 40, 3\]"),
        ("a list", _RGB.tolist(), "found list"),
    ],
    "video": [
        ("absent", _absent("a.mp4"), "found nothing"),
        ("empty file", _bytes("a.mp4", b""), "empty file"),
        ("not a video", _bytes("a.mp4", b"\x00" * 4096), "cannot be read as a video"),
        ("a sound", _sound("a.mp4", 1000), "as a video"),
        ("wrong ending", _bytes("a.wav", b"abc"), r"expected a video \("),
        ("one image", _RGB, r"\[S, H, W, 3\], found \[32, 40, 3\]"),
        ("floats", _RGB[None] / 255, "uint8"),
        ("channels first", _RGB.transpose(2, 0, 1)[None], r"found \[1, 3, 32, 40\]"),
        ("no frame", _RGB[None][:0], r"found \[0, 32, 40, 3\]"),
        ("a list of frames", [_RGB, _RGB], "found list"),
    ],
    "text": [
        ("nothing", None, "found NoneType"),
        ("a number", 3, "found int"),
        ("bytes", b"a chair", "found bytes"),
        ("a list", ["a chair"], "found list"),
        ("empty", "", "something to read"),
        ("blank", " \t\n", "something to read"),
        ("control characters", "\x00\x01", "something to read"),
        ("half a surrogate pair", "chair \ud83e", "valid Unicode"),
        ("not UTF-8", _bytes("a.txt", "Stühle".encode("utf-16")), "UTF-8 text"),
        ("absent", _absent("a.txt"), "found nothing"),
    ],
    "point_cloud": [
        ("absent", _absent("a.ply"), "found nothing"),
        ("not a PLY", _bytes("a.ply", b"solid stl\n"), "as a PLY"),
        ("no y and z", _bytes("a.ply", _PLY_OF_X), "x, y, z"),
        ("not a GLB", _bytes("a.glb", b"<html>404</html>"), "no surface to sample"),
        ("pickled", _array("a.npy", np.array([{}], dtype=object)), "cannot be read as an array"),
        ("five columns", _CLOUD[:, :5], r"\[N, 3\], found \[9000, 5\]"),
        ("too few points", _CLOUD[:100], "at least 8192 points, found 100"),
        ("NaN", _with(_CLOUD, np.nan), "found 1 that are NaN or infinite"),
        ("8-bit colours", _CLOUD * [1, 1, 1, 255, 255, 255], "divide 8-bit colours by 255"),
        ("one place", np.ones_like(_CLOUD), "all points in one place"),
    ],
    "depth": [
        ("no unit", _picture("a.png", _COUNTS), "state one of mm, sun_rgbd"),
        ("no camera", _picture("a.png", _COUNTS, unit="mm"), "focal_px above 0, found None"),
        ("no baseline", _picture("a.png", _COUNTS, unit="mm", focal_px=500.0), "baseline_m above"),
        ("colours", _picture("a.png", _RGB, unit="mm", **_CAMERA), "found mode RGB"),
        ("8-bit SUN RGB-D", _picture("a.png", _GREY, unit="sun_rgbd", **_CAMERA), "found uint8"),
        (
            "metres in a picture",
            _picture("a.png", _COUNTS, unit="m", **_CAMERA),
            "cannot hold unit 'm'",
        ),
        ("negative depth", _array("a.npy", -_MAP, unit="m", **_CAMERA), "0 and above"),
        ("negative disparity", -_MAP, "disparities of 0 and above"),
        ("NaN", _with(_MAP, np.nan), "NaN or infinite"),
        ("three axes", _MAP[None], r"\[H, W\], found \[1, 32, 40\]"),
    ],
    "thermal": [
        *_PICTURE_FILES,
        ("16 bit without range", _picture("a.png", _COUNTS), "coldest and hottest"),
        ("range upside down", _picture("a.png", _COUNTS, coldest=9, hottest=1), "coldest=9"),
        ("false colours", _picture("a.png", _RGB), "found mode RGB"),
        ("degrees", _MAP * 40, r"in 0\.\.1, found"),
        ("infinite", _with(_MAP, np.inf), "NaN or infinite"),
    ],
    "tactile": [
        *_PICTURE_FILES,
        ("floats", _RGB / 255, "uint8"),
        ("grey", _RGB[..., 0], r"found \[32, 40\]"),
        ("RGBA", np.concatenate([_RGB, _RGB[..., :1]], axis=2), r"found \[32, 40, 4\]"),
        ("no pixel", _RGB[:, :0], r"found \[32, 0, 3\]"),
        ("16 bit", _RGB.astype(np.uint16), "found uint16"),
    ],
    "audio": [
        ("absent", _absent("a.wav"), "found nothing"),
        ("empty file", _bytes("a.flac", b""), "empty file"),
        ("not a sound", _bytes("a.mp3", b"<html>404</html>"), "cannot be read as a sound"),
        ("no sample", _sound("a.wav", 0), "no sample"),
        ("wrong ending", _bytes("a.aac", b"abc"), "expected a sound file"),
        ("stereo", np.stack([_WAVE, _WAVE]), r"\[time\], found \[2, 16000\]"),
        ("silence", _WAVE * 0, "found silence"),
        ("too short", _WAVE[:100], "0.05 s or more"),
        ("NaN", _with(_WAVE, np.nan), "NaN or infinite"),
        ("complex", _WAVE.astype(complex), "found complex128"),
    ],
    "imu": [
        ("absent", _absent("a.npy"), "found nothing"),
        ("words", _bytes("a.csv", b"ax,ay,az\n"), "cannot be read as an array"),
        ("no line", _bytes("a.csv", b"# nothing\n"), "no numbers"),
        ("rate 0", _array("a.npy", _IMU, rate_hz=0), "above 0, found 0"),
        ("rate NaN", _array("a.npy", _IMU, rate_hz=float("nan")), "found nan"),
        ("time first", _IMU.T, r"\[6, time\], found \[2400, 6\]"),
        ("accelerometer only", _IMU[:3], r"found \[3, 2400\]"),
        ("too short", _IMU[:, :1999], "at least 2000 samples, found 1999"),
        ("raw counts", _IMU * 1e5, "raw counts"),
        ("infinite", _with(_IMU, np.inf), "NaN or infinite"),
    ],
    "eeg": [
        ("absent", _absent("a.npy"), "found nothing"),
        ("two arrays", File("a.npz", lambda p: np.savez(p, a=_EEG, b=_EEG)), "found 2: a, b"),
        ("truncated", _bytes("a.npy", b"\x93NUMPY\x01\x00"), "cannot be read as an array"),
        ("negative rate", _array("a.npy", _EEG, rate_hz=-1), "found -1"),
        ("64 channels", _EEG[:64], r"\[128, time\], found \[64, 500\]"),
        ("too short", _EEG[:, :459], "460 samples or more"),
        ("flat", np.ones_like(_EEG), "constant channels"),
        ("NaN", _with(_EEG, np.nan), "NaN or infinite"),
        ("booleans", _EEG > 0, "found bool"),
        ("a batch", torch.zeros(2, 128, 500), r"found \[2, 128, 500\]"),
    ],
}
