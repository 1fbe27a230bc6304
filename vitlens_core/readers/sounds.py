"""Reads recordings: through libsndfile what it knows, and the sound of other files through FFmpeg.

Axes: C channels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from vitlens_core.errors import InputError
from vitlens_core.notes import note
from vitlens_core.readers.containers import check_whole, stream_patched
from vitlens_core.readers.files import optional, unreadable
from vitlens_core.readers.formats import (
    AAC,
    AMR,
    ASF,
    MATROSKA,
    MP4,
    SOUNDS,
    WAV,
    Format,
    identify,
)

Channel = Literal["mean"] | int
# FFmpeg's names of its readers, so that no other one opens the file.
DEMUXERS = {MP4: "mov", MATROSKA: "matroska", ASF: "asf", AAC: "aac", AMR: "amr"}
# Below this share of the channels' own energy, they cancel each other in their mean.
_LEAST_ENERGY = 0.02


def read_waveform(path: str | Path, channel: Channel = "mean") -> tuple[np.ndarray, int]:
    """Read a mono waveform [samples] float32 and its rate in Hz.

    Args:
        channel: `mean` of all channels, or the number of one. Where the channels cancel each
            other in their mean, as with a miswired microphone, the loudest is taken.

    Raises:
        InputError: the file is missing, cut short, damaged, of another kind, or without a sample;
            or it lacks the channel.
    """
    path, content = identify(path, SOUNDS, "a sound")
    check_whole(path, content)
    by_ffmpeg = content in DEMUXERS
    channels, rate_hz = _by_ffmpeg(path, content) if by_ffmpeg else _by_sndfile(path, content)
    if not channels.size:
        raise InputError(f"expected a sound, found no sample in {path}")
    return _mono(path, channels, channel), rate_hz


def _by_sndfile(path: Path, content: Format) -> tuple[np.ndarray, int]:
    """Read [samples, C] and the rate."""
    soundfile = optional("soundfile")
    try:
        source = stream_patched(path) if content is WAV else path
        return soundfile.read(source, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        # FFmpeg reads some that libsndfile does not: unusual codecs in WAV, a broken first frame.
        try:
            return _by_ffmpeg(path, content)
        except InputError:
            raise unreadable(path, f"a {content.name} sound", error) from error


def _by_ffmpeg(path: Path, content: Format) -> tuple[np.ndarray, int]:
    """Read the first sound of a file, [samples, C] and the rate."""
    av = optional("av")
    try:
        with av.open(str(path), format=DEMUXERS.get(content)) as container:
            if not container.streams.audio:
                raise InputError(f"expected a sound, found none in {path}")
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="fltp")  # keeps the rate and the channels
            blocks = [
                block.to_ndarray()
                for frame in container.decode(stream)
                for block in resampler.resample(frame)
            ]
            rate_hz = stream.rate
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise unreadable(path, f"a {content.name} sound", error) from error
    if not blocks:
        return np.zeros((0, 1), np.float32), 0
    return np.concatenate(blocks, axis=1).T, rate_hz


def _mono(path: Path, channels: np.ndarray, channel: Channel) -> np.ndarray:
    if channel != "mean":
        if not 0 <= channel < channels.shape[1]:
            raise InputError(
                f"expected channel {channel} in {path}, found {channels.shape[1]} channels, "
                "counted from 0"
            )
        return np.ascontiguousarray(channels[:, channel])
    mean = channels.mean(axis=1)
    energies = (channels.astype(np.float64) ** 2).mean(axis=0)
    if (
        channels.shape[1] > 1
        and (mean.astype(np.float64) ** 2).mean() < _LEAST_ENERGY * energies.max()
    ):
        loudest = int(energies.argmax())
        note(f"the channels cancel each other in their mean: channel {loudest} alone was taken")
        return np.ascontiguousarray(channels[:, loudest])
    return mean
