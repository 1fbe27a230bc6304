"""Reads frames of videos, spread evenly over time, through PyAV.

Axes: S frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vitlens_core.errors import InputError
from vitlens_core.notes import note
from vitlens_core.readers.containers import check_whole
from vitlens_core.readers.files import optional, unreadable
from vitlens_core.readers.formats import (
    ASF,
    AVI,
    FLV,
    GIF,
    MATROSKA,
    MP4,
    MPEG,
    MPEG_TS,
    OGG,
    VIDEOS,
    Format,
    identify,
)

if TYPE_CHECKING:
    from av import VideoFrame

# FFmpeg's names of its readers, so that no other one (a playlist's, say) opens the file.
_DEMUXERS = {
    MP4: "mov",
    MATROSKA: "matroska",
    AVI: "avi",
    GIF: "gif",
    OGG: "ogg",
    MPEG: "mpeg",
    MPEG_TS: "mpegts",
    ASF: "asf",
    FLV: "flv",
}
_MOST_FRAMES = 1024  # a video's embedding is their mean; more would fill the memory
# FFmpeg's numbers of the transfer functions of high dynamic range.
_HDR = {16: "PQ, SMPTE 2084", 18: "HLG, ARIB STD-B67"}
_EVEN = 1.5  # durations of frames that differ by less are one rate, rounded


def read_frames(path: str | Path, frames: int) -> np.ndarray:
    """Read `frames` frames, each shown in the middle of one of as many equal spans of time.

    They are turned, mirrored and stretched as a player shows them. A shorter video of one rate
    gives all its frames. The file is decoded twice, so that only the chosen frames are in memory.

    Returns:
        uint8 [S, H, W, 3].

    Raises:
        InputError: the file is missing, cut short, damaged, or has no picture, or `frames` is not
            in 1..1024.
        ConfigError: PyAV is not installed.
    """
    if not isinstance(frames, int) or not 1 <= frames <= _MOST_FRAMES:
        raise InputError(f"expected frames in 1..{_MOST_FRAMES}, found {frames}")
    path, content = identify(path, VIDEOS, "a video")
    check_whole(path, content)
    av = optional("av")
    try:
        # Times are of decoded frames: a container may state no number of frames, or a wrong one.
        times = [_shown_at(frame) for frame, _ in _decoded(av, path, content)]
        chosen = spread_in_time(times, frames)
        wanted = set(chosen)
        pictures = {
            index: _as_shown(frame, aspect)
            for index, (frame, aspect) in enumerate(_decoded(av, path, content))
            if index in wanted
        }
    # IndexError: there is no video stream. UnicodeDecodeError: of damaged tags.
    except (av.FFmpegError, IndexError, UnicodeDecodeError) as error:
        raise unreadable(path, f"a {content.name} video", error) from error
    if not pictures:
        raise InputError(f"expected a video, found no frame in {path}")
    return np.stack([pictures[index] for index in chosen])


def spread_in_time(times: list[tuple[float, float] | None], wanted: int) -> list[int]:
    """Choose the frames that are shown in the middle of each of `wanted` equal spans of time.

    Args:
        times: when each frame appears and how long it is shown [s]; None if it does not say.

    Returns:
        Indices in ascending order; a frame that is shown long may come several times.
    """
    starts, durations = _timeline(times)
    if len(times) <= wanted and (not durations or max(durations) < _EVEN * min(durations)):
        return list(range(len(times)))
    if not durations or max(durations) < _EVEN * min(durations):
        return spread(len(times), wanted)
    ends = starts[-1] + durations[-1]
    span = (ends - starts[0]) / wanted
    middles = [starts[0] + (number + 0.5) * span for number in range(wanted)]
    return (np.searchsorted(starts, middles, side="right") - 1).tolist()


def spread(total: int, wanted: int) -> list[int]:
    """Return indices into `total` frames: the middle of each of `wanted` equal spans."""
    wanted = min(total, wanted)
    return [int((i + 0.5) * total / wanted) for i in range(wanted)]


def _timeline(times: list[tuple[float, float] | None]) -> tuple[list[float], list[float]]:
    """Return when each frame appears and how long it is shown; empty if the times are unusable."""
    known = [time for time in times if time is not None]
    starts = [start for start, _ in known]
    if (
        len(known) != len(times)
        or not times
        or any(after <= before for before, after in pairwise(starts))
    ):
        return [], []
    gaps = [after - before for before, after in pairwise(starts)]
    # The last frame says itself how long it is shown; else as long as the others do.
    last = known[-1][1] or (float(np.median(gaps)) if gaps else 1.0)
    return starts, [*gaps, last]


def _shown_at(frame: VideoFrame) -> tuple[float, float] | None:
    if frame.pts is None or not frame.time_base:
        return None
    return float(frame.pts * frame.time_base), float((frame.duration or 0) * frame.time_base)


def _as_shown(frame: VideoFrame, aspect: Fraction) -> np.ndarray:
    """Return the picture of a frame as a player shows it, uint8 RGB [H, W, 3].

    Args:
        aspect: how much wider than high its pixels are.
    """
    if frame.color_trc in _HDR:
        raise InputError(
            f"expected a video in standard range, found high dynamic range "
            f"({_HDR[frame.color_trc]}), whose colours would come out pale; convert it to BT.709"
        )
    has_alpha = any(component.is_alpha for component in frame.format.components)
    picture = frame.to_ndarray(format="rgba" if has_alpha else "rgb24")
    if has_alpha:
        over = Image.new("RGBA", (picture.shape[1], picture.shape[0]), "white")
        picture = np.asarray(Image.alpha_composite(over, Image.fromarray(picture)).convert("RGB"))
    if aspect != 1:
        width = max(1, round(picture.shape[1] * aspect))
        size = (width, picture.shape[0])
        picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    return _turned(picture, frame)


def _turned(picture: np.ndarray, frame: VideoFrame) -> np.ndarray:
    """Apply the display matrix of phones and cameras: quarter turns and mirror images."""
    matrix = _display_matrix(frame)
    if matrix is None:
        return picture
    (a, b), (c, d) = matrix
    if abs(a) + abs(d) == 0:  # the axes change places
        picture = picture.swapaxes(0, 1)
        horizontal, vertical = c, b
    elif abs(b) + abs(c) == 0:
        horizontal, vertical = a, d
    else:
        note("the video is turned by an angle that is no quarter; it was read as stored")
        return picture
    if horizontal < 0:
        picture = picture[:, ::-1]
    if vertical < 0:
        picture = picture[::-1]
    return np.ascontiguousarray(picture)


def _display_matrix(frame: VideoFrame) -> tuple[tuple[int, int], tuple[int, int]] | None:
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    numbers = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    return (numbers[0], numbers[1]), (numbers[3], numbers[4])


def _decoded(av: ModuleType, path: Path, content: Format) -> Iterator[tuple[VideoFrame, Fraction]]:
    """Yield every frame, and how much wider than high its pixels are."""
    with av.open(str(path), format=_DEMUXERS[content]) as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            yield frame, Fraction(stream.sample_aspect_ratio or 1)
