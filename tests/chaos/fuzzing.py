"""Mutates small real files of every format, and counts how reading them ends.

    python -m tests.chaos.fuzzing --mutations 200 --out tests/chaos/fuzzed.json

Reads     nothing: the files are made here, by other libraries than our readers where there are any.
Writes    with `--out`: per format, the number of mutations by outcome, and what was unforeseen.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import av
import numpy as np
import plyfile
import soundfile
from PIL import Image

from tests.vitlens_core.rendering.glb_builder import cube, solid
from vitlens_core import modalities
from vitlens_core.api import untrusted
from vitlens_core.api.encoders import Preparation
from vitlens_core.errors import InputError
from vitlens_core.modalities.base import LensedModality
from vitlens_core.sandbox import Limits, Sandbox

LIMITS = Limits(time_s=10, memory_mb=1024, output_mb=64, recycle_after=10_000)
RGB = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
WAVE = np.sin(np.arange(8000) * 0.1).astype(np.float32)
CLOUD = np.random.default_rng(0).random((64, 3)).astype(np.float32)

Mutation = Callable[[random.Random, bytes], bytes]


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, kind)
    return file.getvalue()


def sound(kind: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, WAVE, 16_000, format=kind, subtype=subtype)
    return file.getvalue()


def video(container: str, codec: str, frames: int = 6) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = cast(av.VideoStream, out.add_stream(codec, rate=25))
        stream.width, stream.height = 56, 40
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(RGB, number * 4, axis=1), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def array(kind: str) -> bytes:
    file = io.BytesIO()
    {"npy": np.save, "npz": np.savez_compressed}[kind](file, np.ones((6, 2000), np.float32))
    return file.getvalue()


def ply(is_text: bool) -> bytes:
    vertices = np.array([tuple(p) for p in CLOUD], [("x", "f4"), ("y", "f4"), ("z", "f4")])
    file = io.BytesIO()
    plyfile.PlyData([plyfile.PlyElement.describe(vertices, "vertex")], text=is_text).write(file)
    return file.getvalue()


_TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
_OFF = "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
_CORNERS = (0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0)  # a normal, then three corners
_STL = bytes(80) + (1).to_bytes(4, "little") + np.array(_CORNERS, "<f4").tobytes() + bytes(2)
_TABLE = "\n".join(",".join(f"{(i * j) % 7:.2f}" for j in range(6)) for i in range(2100))
# Modality and name of a file → its bytes.
SEEDS: dict[tuple[str, str], Callable[[], bytes]] = {
    **{
        ("image", f"a{ending}"): lambda kind=kind: picture(kind)
        for ending, kind in (
            (".png", "PNG"),
            (".jpg", "JPEG"),
            (".webp", "WEBP"),
            (".gif", "GIF"),
            (".bmp", "BMP"),
            (".tif", "TIFF"),
            (".avif", "AVIF"),
            (".jp2", "JPEG2000"),
            (".ppm", "PPM"),
        )
    },
    **{
        ("audio", f"a{ending}"): lambda kind=kind: sound(*kind)
        for ending, kind in (
            (".wav", ("WAV",)),
            (".flac", ("FLAC",)),
            (".ogg", ("OGG", "VORBIS")),
            (".mp3", ("MP3",)),
            (".aiff", ("AIFF",)),
            (".au", ("AU",)),
            (".caf", ("CAF",)),
            (".w64", ("W64",)),
        )
    },
    **{
        ("video", f"a{ending}"): lambda kind=kind: video(*kind)
        for ending, kind in (
            (".mp4", ("mp4", "mpeg4")),
            (".mkv", ("matroska", "mpeg4")),
            (".avi", ("avi", "mpeg4")),
            (".mpg", ("mpeg", "mpeg1video")),
            (".ts", ("mpegts", "mpeg2video")),
            (".flv", ("flv", "flv")),
            (".wmv", ("asf", "wmv2")),
            (".gif", ("gif", "gif")),
        )
    },
    ("imu", "a.npy"): lambda: array("npy"),
    ("imu", "a.npz"): lambda: array("npz"),
    ("imu", "a.csv"): _TABLE.encode,
    ("point_cloud", "a.ply"): lambda: ply(False),
    ("point_cloud", "t.ply"): lambda: ply(True),
    ("point_cloud", "a.glb"): lambda: cube(solid(200, 100, 50)).pack(),
    ("point_cloud", "a.obj"): _TRIANGLE.encode,
    ("point_cloud", "a.off"): _OFF.encode,
    ("point_cloud", "a.stl"): lambda: _STL,
}


def flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 4, 64))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(1, len(data) + 1)]


def repeat(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data))
    part = data[start : start + rng.randrange(1, 256)]
    return data[:start] + part * rng.choice((2, 50)) + data[start:]


def extreme(rng: random.Random, data: bytes) -> bytes:
    """Write a number that no honest file has, where sizes and counts stand: near the beginning."""
    changed = bytearray(data)
    size = rng.choice((2, 4, 8))
    start = rng.randrange(min(len(data), rng.choice((64, 1024))))
    value = rng.choice((0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1))
    changed[start : start + size] = value.to_bytes(size, rng.choice(("little", "big")))
    return bytes(changed)


def splice(rng: random.Random, data: bytes) -> bytes:
    """Exchange two parts of the file."""
    first, second = sorted(rng.randrange(len(data)) for _ in range(2))
    return data[first:second] + data[:first] + data[second:]


MUTATIONS: tuple[Mutation, ...] = (flip, cut, repeat, extreme, splice)


def mutated(seed: bytes, count: int) -> Iterator[bytes]:
    """Yield mutations of a file, the same every time."""
    rng = random.Random(0)
    for _ in range(count):
        data = seed
        for _ in range(rng.choice((1, 1, 3))):
            data = rng.choice(MUTATIONS)(rng, data) or data
        yield data


def preparation(name: str) -> Preparation:
    modality = modalities.load(name)
    if isinstance(modality, LensedModality):
        values = {"points": 16} if name == "point_cloud" else {}
        return Preparation(name, modality.Signal(**values))
    return Preparation(name, side_px=32)


def outcome(sandbox: Sandbox, modality: str, path: Path) -> str:
    """Read one file: `read`, `refused`, or what went wrong in the child."""
    try:
        untrusted.read(sandbox, preparation(modality), path, {}, path.name)
    except InputError as error:
        reason = str(error).removeprefix(f"{path} ")
        for start in ("crashed the process", "exceeded", "needs more", "made the process"):
            if reason.startswith(start):
                return start.split()[0]
        is_ours = not reason.startswith("cannot be read: ")
        return "refused" if is_ours else f"unforeseen {reason.split(': ')[1]}"
    return "read"


def fuzz(modality: str, name: str, mutations: int, sandbox: Sandbox, folder: Path) -> Counter[str]:
    """Count the outcomes of one format's mutations."""
    found: Counter[str] = Counter()
    path = folder / name
    for data in mutated(SEEDS[modality, name](), mutations):
        path.write_bytes(data)
        found[outcome(sandbox, modality, path)] += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=200)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    formats: dict[str, dict[str, float]] = {}
    with untrusted.sandbox(LIMITS) as sandbox, tempfile.TemporaryDirectory() as folder:
        sandbox.start()
        for modality, name in SEEDS:
            started = time.perf_counter()
            found = fuzz(modality, name, asked.mutations, sandbox, Path(folder))
            seconds = round(time.perf_counter() - started, 1)
            formats[f"{modality} {name}"] = {**dict(sorted(found.items())), "seconds": seconds}
            print(f"{modality} {name}", dict(found), f"{seconds} s", flush=True)
    if asked.out:
        content = {"mutations": asked.mutations, "formats": formats}
        asked.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
