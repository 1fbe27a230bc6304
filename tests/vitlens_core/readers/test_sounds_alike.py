"""Sounds: the same content in every type, layout and container is read alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from vitlens_core import notes
from vitlens_core.errors import InputError
from vitlens_core.modalities import audio
from vitlens_core.readers.sounds import read_waveform

RNG = np.random.default_rng(0)
RATE = 16_000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)
BY_SNDFILE = [
    (kind, subtype)
    for kind in ("WAV", "AIFF", "AU", "CAF", "W64", "FLAC", "RF64")
    for subtype in soundfile.available_subtypes(kind)
    if subtype in ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
]


@pytest.mark.parametrize(("kind", "subtype"), BY_SNDFILE, ids=" ".join)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_sound_is_the_same_in_every_container(
    tmp_path: Path, kind: str, subtype: str, channels: int
) -> None:
    path = tmp_path / "a.mp3"  # the content tells
    soundfile.write(path, TONE[:, None].repeat(channels, 1), RATE, subtype=subtype, format=kind)
    np.testing.assert_allclose(audio.MODALITY.read(path), TONE, atol=1e-4)


def _encode_sound(path: Path, codec: str, form: str, rate: int, sound: np.ndarray = TONE) -> None:
    with av.open(str(path), "w", format=form) as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.layout, stream.bit_rate = "mono", 64_000
        resampler = av.AudioResampler(format=stream.format.name, layout="mono", rate=rate)
        frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = RATE, 0
        for block in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("codec", "form", "rate", "ending"),
    [
        ("aac", "mp4", 16_000, ".m4a"),
        ("aac", "adts", 16_000, ".aac"),
        ("aac", "mov", 16_000, ".MOV"),
        ("libopus", "webm", 48_000, ".webm"),
        ("libopus", "ogg", 48_000, ".opus"),
        ("libopus", "matroska", 48_000, ".mka"),
        ("wmav2", "asf", 44_100, ".wma"),
        ("flac", "matroska", 16_000, ".mkv"),
    ],
)
def test_the_sound_of_phones_and_videos_is_heard(
    tmp_path: Path, codec: str, form: str, rate: int, ending: str
) -> None:
    path = tmp_path / f"a{ending}"
    _encode_sound(path, codec, form, rate)
    waveform = audio.MODALITY.read(path)
    middle = waveform[len(waveform) // 4 : -len(waveform) // 4]
    assert len(waveform) == pytest.approx(RATE, rel=0.2)
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.3536, rel=0.05)
    spectrum = np.abs(np.fft.rfft(middle))
    assert spectrum.argmax() * RATE / len(middle) == pytest.approx(440, abs=5)


def test_channels_that_cancel_give_the_loudest_and_say_so(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([TONE, -0.9 * TONE], axis=1), RATE)
    soundfile.write(tmp_path / "b.wav", np.stack([TONE, -TONE], axis=1), RATE)
    for name, first in (("a.wav", 0.1), ("b.wav", 1.0)):
        with notes.collected() as found:
            waveform, _ = read_waveform(tmp_path / name)
        if name == "b.wav":
            np.testing.assert_allclose(waveform, TONE, atol=1e-4)
            assert "cancel each other" in found[0]
        first_channel, _ = read_waveform(tmp_path / name, 0)
        np.testing.assert_allclose(first_channel, TONE, atol=1e-4)
        assert first > 0
    with pytest.raises(InputError, match=r"expected channel 2 .* found 2 channels"):
        read_waveform(tmp_path / "a.wav", 2)


@pytest.mark.parametrize("form", ["WAV", "AIFF", "AU", "CAF", "W64", "RF64", "FLAC", "OGG", "MP3"])
def test_half_a_sound_is_refused(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a.sound"
    soundfile.write(path, np.tile(TONE, 5), RATE, format=form)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"is cut short|cannot be read"):
        read_waveform(path)


@pytest.mark.parametrize("stated", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_a_streamed_sound_without_a_length_is_read_whole(tmp_path: Path, stated: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, TONE, RATE)
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = stated.to_bytes(4, "little")
    content[4:8] = stated.to_bytes(4, "little")
    path.write_bytes(content)
    np.testing.assert_allclose(read_waveform(path)[0], TONE, atol=1e-4)
