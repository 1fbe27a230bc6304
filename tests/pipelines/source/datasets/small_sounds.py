"""Tiny media files for the sources of recorded sound, and what the shards step does with them."""

from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from pipelines.source.base import Pair, SourceSettings
from vitlens_core.modalities import audio

SIGNAL = audio.AudioSignal(clips=2, clip_s=0.2, mel_bins=16, frames=20)


def write_sound(path: Path, rate_hz: int = 16_000, hz: float = 440.0) -> None:
    """0.3 s of a tone in the format that the ending names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time_s = np.arange(round(0.3 * rate_hz)) / rate_hz
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * hz * time_s), rate_hz)


def write_picture(path: Path, colour: tuple[int, ...] = (200, 30, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA" if len(colour) == 4 else "RGB", (6, 4), colour).save(path)


def write_text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def stored(source: SourceSettings, pair: Pair) -> np.ndarray:
    """The signal of a pair, through the modality's own reader."""
    return SIGNAL.store(source.read(pair, audio.MODALITY))
