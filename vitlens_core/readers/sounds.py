"""Reads recordings (WAV, FLAC, OGG, MP3) through soundfile (libsndfile)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vitlens_core.errors import InputError
from vitlens_core.readers.files import existing, optional, unreadable

ENDINGS = frozenset({".wav", ".flac", ".ogg", ".mp3"})


def read_waveform(path: str | Path) -> tuple[np.ndarray, int]:
    """Read a mono waveform [samples] float32 in −1..1 (channels averaged) and its rate in Hz.

    Raises:
        InputError: the file is missing, damaged, of another kind, or without a sample.
    """
    path = existing(path, ENDINGS, "a sound file")
    soundfile = optional("soundfile")
    try:
        waveform, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise unreadable(path, "a sound file", error) from error
    if not len(waveform):
        raise InputError(f"expected a sound, found no sample in {path}")
    return waveform.mean(axis=1), rate_hz
