"""Audio: rates, clips, spectrograms, augmentation."""

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contracts.examples import Example, noise
from tests.contracts.malformed import File, file_of_bytes, no_file, with_one
from vitlens_core.modalities import audio
from vitlens_core.row_generator import RowGenerator
from vitlens_core.signals.spectrograms import log_mel, masked, rolled, spread_clips

RATE_HZ = audio.RATE_HZ
WAVE = np.random.default_rng(0).normal(size=16_000).astype(np.float32)

EXAMPLE = Example(
    raw=noise(4000),
    refused=(np.zeros(4000), np.ones(100), np.ones((2, 4000))),
    signal={"clips": 2, "clip_s": 0.1, "mel_bins": 16, "frames": 16},
    tokenizer={"patch": 6, "stride": 4, "width": 10},
    malformed=(
        ("absent", no_file("a.wav"), "found nothing"),
        ("empty file", file_of_bytes("a.flac", b""), "empty file"),
        ("not a sound", file_of_bytes("a.mp3", b"<html>404</html>"), "found HTML"),
        ("no sample", File("a.wav", lambda p: soundfile.write(p, WAVE[:0], 16_000)), "no sample"),
        ("wrong content", file_of_bytes("a.aac", b"abc"), "expected a sound .* begins with b'abc'"),
        ("stereo", np.stack([WAVE, WAVE]), r"\[time\], found \[2, 16000\]"),
        ("silence", WAVE * 0, "found silence"),
        ("too short", WAVE[:100], "0.05 s or more"),
        ("NaN", with_one(np.nan, WAVE), "NaN or infinite"),
        ("complex", WAVE.astype(complex), "found complex128"),
    ),
)


def _tone(hertz: float, seconds: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate_hz)) / rate_hz) / 2


@pytest.mark.parametrize("rate_hz", [8000, 22_050, 44_100, 48_000])
def test_any_rate_becomes_16_khz(tmp_path, rate_hz):
    soundfile.write(tmp_path / "a.wav", _tone(1000, 1, rate_hz), rate_hz)
    waveform = audio.MODALITY.read(tmp_path / "a.wav")
    assert abs(len(waveform) - RATE_HZ) <= 1
    middle = slice(2000, 14_000)  # the filter rings at the ends
    np.testing.assert_allclose(waveform[middle], _tone(1000, 1)[middle], atol=0.01)


def test_what_lies_above_the_new_band_is_gone():
    high = audio.at_16_khz(_tone(12_000, 1, 44_100), 44_100)
    assert np.abs(high[2000:14_000]).max() < 0.01


def test_a_recording_becomes_three_clips_of_512_frames():
    signal = audio.AudioSignal()
    stored = signal.store(_tone(440, 12))
    assert stored.shape == (3, 512, 128)
    assert stored.dtype == np.float32
    assert not stored[:, 498:].any()  # 5 s are 498 frames, the rest is filled with 0
    seen = audio.AudioTokenizer().prepare(torch.from_numpy(stored)[None], signal)
    torch.testing.assert_close(seen[0, 0, -1], torch.full((128,), 4.2677 / 4.5690))


def test_the_loudest_band_rises_with_the_tone():
    bands = [
        log_mel(_tone(hertz, 1)[None], RATE_HZ, 64, 98)[0].mean(axis=0).argmax()
        for hertz in (200, 800, 3200)
    ]
    assert bands == sorted(set(bands))


def test_a_constant_offset_is_not_heard():
    clip = _tone(440, 1)[None]
    np.testing.assert_allclose(
        log_mel(clip, RATE_HZ, 32, 98), log_mel(clip + 0.25, RATE_HZ, 32, 98), atol=0.05
    )


@given(length=st.integers(1, 400), samples=st.integers(1, 200), clips=st.integers(1, 5))
def test_clips_are_spread_from_start_to_end_and_short_recordings_repeat(length, samples, clips):
    found = spread_clips(np.arange(length), samples, clips, repeat=True)
    assert found.shape == (clips, samples)
    padded = spread_clips(np.arange(length), samples, clips, repeat=False)
    if length < samples:
        np.testing.assert_array_equal(padded, np.tile(np.arange(length), (clips, 1)))
    else:
        np.testing.assert_array_equal(padded, found)
    if length < samples:
        np.testing.assert_array_equal(found, np.tile(np.arange(samples) % length, (clips, 1)))
    elif clips > 1:
        assert found[0, 0] == 0
        assert found[-1, -1] == length - 1
    else:
        assert abs(found[0, 0] - (length - samples) / 2) <= 0.5


@given(seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=25)
def test_masks_are_one_band_and_one_span_of_the_allowed_widths(seed):
    generator = RowGenerator.of(str(seed), range(3))
    hidden = masked(torch.ones(3, 100, 40), 12, 48, generator) == 0
    for sample in hidden:
        bands, spans = sample.all(dim=0), sample.all(dim=1)
        assert bands.sum() <= 12
        assert spans.sum() <= 48
        assert torch.equal(sample, bands[None, :] | spans[:, None])
        for line in (bands, spans):  # one run of ones at most
            assert line.int().diff().clamp(min=0).sum() + line[0].int() <= 1


def test_rolling_keeps_every_frame():
    clip = torch.arange(30.0).view(1, 30, 1).expand(4, -1, 2).contiguous()
    turned = rolled(clip, 10, RowGenerator.of("0", range(4)))
    for sample in turned:
        shift = int(sample[0, 0])
        assert min(shift, 30 - shift) <= 10
        torch.testing.assert_close(sample, clip[0].roll(-shift, dims=0))
