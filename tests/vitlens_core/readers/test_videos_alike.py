"""Videos: the same content in every type, layout and container is read alike."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vitlens_core.errors import InputError
from vitlens_core.readers import videos
from vitlens_core.readers.videos import read_frames, spread_in_time

RNG = np.random.default_rng(0)


def _write_video(
    path: Path, form: str, codec: str, times: list[int], levels: list[int], **options: Any
) -> None:
    """Frames of one level each, shown from their times on [1/100 s]."""
    with av.open(str(path), "w", format=form) as container:
        stream: Any = container.add_stream(codec, rate=100)
        stream.width = stream.height = 32
        stream.pix_fmt = options.pop("pix_fmt", "yuv420p")
        stream.codec_context.options = {str(k): str(v) for k, v in options.items()}
        for time, level in zip(times, levels, strict=True):
            pixels = np.full((32, 32, 3), level, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


CONTAINERS = [
    ("mp4", "mpeg4", ".mp4"),
    ("mov", "mpeg4", ".QT"),
    ("matroska", "mpeg4", ".mkv"),
    ("webm", "libvpx", ".webm"),
    ("avi", "mpeg4", ".avi"),
    ("mpegts", "mpeg2video", ".ts"),
    ("flv", "flv1", ".flv"),
]


@pytest.mark.parametrize(("form", "codec", "ending"), CONTAINERS)
def test_a_video_is_the_same_in_every_container(
    tmp_path: Path, form: str, codec: str, ending: str
) -> None:
    path = tmp_path / f"a{ending}"
    _write_video(path, form, codec, [4 * n for n in range(20)], [12 * n for n in range(20)])
    frames = read_frames(path, 4)
    assert frames.shape == (4, 32, 32, 3)
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), [24, 84, 144, 204], atol=14)


def test_frames_are_chosen_by_time_not_by_number(tmp_path: Path) -> None:
    """Ten quick frames, then one that stands for most of the video."""
    times = [*range(0, 100, 10), 100, 900]
    levels = [20] * 10 + [220, 220]
    _write_video(tmp_path / "a.mkv", "matroska", "mpeg4", times, levels)
    found = read_frames(tmp_path / "a.mkv", 8).mean(axis=(1, 2, 3)) > 120
    assert found.tolist() == [False, *[True] * 7]


@given(
    durations=st.lists(st.integers(1, 50), min_size=1, max_size=30),
    wanted=st.integers(1, 20),
)
def test_every_chosen_frame_is_shown_in_the_middle_of_its_span(
    durations: list[int], wanted: int
) -> None:
    starts = np.concatenate([[0], np.cumsum(durations)[:-1]]).tolist()
    times = [(float(s), float(d)) for s, d in zip(starts, durations, strict=True)]
    chosen = spread_in_time(list(times), wanted)
    assert chosen == sorted(chosen)
    if max(durations) >= 1.5 * min(durations):
        span = sum(durations) / wanted
        for number, index in enumerate(chosen):
            middle = (number + 0.5) * span
            assert starts[index] <= middle <= starts[index] + durations[index] + 1e-9
    else:
        assert len(chosen) == min(wanted, len(durations))


@pytest.mark.parametrize("form", ["mp4", "avi", "matroska", "webm", "flv"])
def test_half_a_video_is_refused(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"a.{form}"
    noise = RNG.integers(0, 256, 200).tolist()
    codec = {"webm": "libvpx", "flv": "flv1"}.get(form, "mpeg4")
    _write_video(path, form, codec, [4 * n for n in range(200)], noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"is cut short|cannot be read"):
        read_frames(path, 4)


def test_transparent_frames_lie_over_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    clear.save(tmp_path / "a.gif", save_all=True, append_images=[clear], duration=100)
    np.testing.assert_array_equal(read_frames(tmp_path / "a.gif", 2)[0], 255)


@pytest.mark.parametrize("transfer", [16, 18])
def test_high_dynamic_range_is_refused_by_name(tmp_path: Path, transfer: int) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.codec_context.color_trc = transfer
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match=r"high dynamic range \((PQ|HLG)"):
        read_frames(tmp_path / "a.mkv", 1)


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((1, 0, 0, 1), lambda p: p),
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
        ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
        ((0, -1, 1, 0), lambda p: np.rot90(p)),
        ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
        ((1, 0, 0, -1), lambda p: p[::-1]),
    ],
    ids=["upright", "90", "180", "270", "mirrored", "upside down"],
)
def test_every_quarter_turn_and_mirror_image_is_undone(
    matrix: tuple[int, int, int, int], shown: Any
) -> None:
    """As `tkhd` states them: x' = a x + c y, y' = b x + d y."""
    picture = RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    a, b, c, d = (value << 16 for value in matrix)
    stated = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], np.int32).tobytes()
    frame: Any = SimpleNamespace(side_data={"DISPLAYMATRIX": stated})
    np.testing.assert_array_equal(videos._turned(picture, frame), shown(picture))
