"""Files in exactly the formats people have, written here and read back."""

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.vitlens_core.rendering.glb_builder import cube
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.readers import files
from vitlens_core.readers.arrays import read_array
from vitlens_core.readers.clouds import read_cloud
from vitlens_core.readers.pictures import read_counts, read_rgb
from vitlens_core.readers.sounds import read_waveform
from vitlens_core.readers.videos import read_frames, spread
from vitlens_core.rendering.mesh import STAGE_SIDE_M

RNG = np.random.default_rng(0)


def test_arrays_come_back_from_npy_npz_and_csv(tmp_path):
    series = RNG.normal(size=(5, 6))
    np.save(tmp_path / "a.npy", series)
    np.savez(tmp_path / "a.npz", series=series)
    np.savetxt(tmp_path / "a.csv", series, delimiter=",", header="ax,ay,az,gx,gy,gz")
    for name in ("a.npy", "a.npz", "a.csv"):
        np.testing.assert_array_equal(read_array(tmp_path / name), series)


def test_pickled_objects_are_never_opened(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="pickle"):
        read_array(tmp_path / "a.npy")


@pytest.mark.parametrize("ending", ["png", "bmp", "tiff", "webp", "gif"])
def test_lossless_pictures_come_back_as_rgb(tmp_path, ending):
    pixels = np.repeat(RNG.integers(256, size=(8, 9, 1), dtype=np.uint8), 3, axis=2)
    path = tmp_path / f"a.{ending}"
    Image.fromarray(pixels).save(path, lossless=True)
    np.testing.assert_array_equal(read_rgb(path), pixels)


def test_transparency_is_laid_over_white(tmp_path):
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, :, 3] = 255
    Image.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.png")[:, 0, 0], [0, 255])


def test_the_cameras_orientation_is_applied(tmp_path):
    picture = Image.fromarray(RNG.integers(256, size=(4, 8, 3), dtype=np.uint8))
    exif = picture.getexif()
    exif[0x0112] = 6  # turned by a quarter
    picture.save(tmp_path / "a.png", exif=exif)
    assert read_rgb(tmp_path / "a.png").shape == (8, 4, 3)


def test_a_picture_that_would_fill_the_memory_is_refused_unread(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match="cannot be read as a PNG picture"):
        read_rgb(tmp_path / "a.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_counts_come_back_as_stored(tmp_path, dtype):
    counts = RNG.integers(np.iinfo(dtype).max, size=(6, 7)).astype(dtype)
    Image.fromarray(counts).save(tmp_path / "a.png")
    read = read_counts(tmp_path / "a.png")
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, counts)


def test_waveforms_of_wav_and_flac_come_back_with_their_rate(tmp_path):
    stereo = RNG.uniform(-0.5, 0.5, size=(4410, 2)).astype(np.float32)
    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, stereo, 44_100)
        waveform, rate_hz = read_waveform(tmp_path / name)
        assert rate_hz == 44_100
        # 16 bit: half a step of 2⁻¹⁵ per channel.
        np.testing.assert_allclose(waveform, stereo.mean(axis=1), atol=2**-15)


def test_an_mp3_keeps_its_tone(tmp_path):
    tone = np.sin(2 * np.pi * 440 * np.arange(32_000) / 32_000).astype(np.float32)
    soundfile.write(tmp_path / "a.mp3", tone, 32_000)
    waveform, rate_hz = read_waveform(tmp_path / "a.mp3")
    spectrum = np.abs(np.fft.rfft(waveform))
    assert rate_hz == 32_000
    assert spectrum.argmax() * rate_hz / len(waveform) == pytest.approx(440, abs=2)


def _write_video(path, frames, size_px=32):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = size_px, size_px, "yuv420p"
        for level in frames:
            pixels = np.full((size_px, size_px, 3), level, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def test_frames_of_a_video_are_spread_evenly(tmp_path):
    levels = np.arange(20) * 12
    _write_video(tmp_path / "a.mp4", levels)
    frames = read_frames(tmp_path / "a.mp4", 4)
    assert frames.shape == (4, 32, 32, 3)
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), levels[[2, 7, 12, 17]], atol=6)


@given(total=st.integers(1, 500), wanted=st.integers(1, 64))
@settings(deadline=None)
def test_spread_indices_ascend_within_the_video(total, wanted):
    indices = spread(total, wanted)
    assert len(indices) == min(total, wanted)
    assert indices == sorted(set(indices))
    assert 0 <= indices[0] <= indices[-1] < total


def _write_ply(path, xyz, rgb, *, text):
    import plyfile

    columns = [(n, "f4") for n in "xyz"] + [(n, "u1") for n in ("red", "green", "blue")]
    vertices = np.empty(len(xyz), dtype=columns)
    for axis, name in enumerate("xyz"):
        vertices[name] = xyz[:, axis]
    for axis, name in enumerate(("red", "green", "blue")):
        vertices[name] = rgb[:, axis]
    element = plyfile.PlyElement.describe(vertices, "vertex")
    plyfile.PlyData([element], text=text).write(str(path))


@pytest.mark.parametrize("text", [True, False])
def test_ply_vertices_come_back_with_colours_in_0_to_1(tmp_path, text):
    xyz = RNG.normal(size=(20, 3)).astype(np.float32)
    rgb = RNG.integers(256, size=(20, 3))
    _write_ply(tmp_path / "a.ply", xyz, rgb, text=text)
    cloud = read_cloud(tmp_path / "a.ply", points=5, seed=0)
    np.testing.assert_allclose(cloud[:, :3], xyz, rtol=1e-6)
    np.testing.assert_allclose(cloud[:, 3:], rgb / 255)


def test_a_glb_is_sampled_on_its_surface(tmp_path):
    path = tmp_path / "a.glb"
    path.write_bytes(cube().pack())
    cloud = read_cloud(path, points=500, seed=0)
    assert cloud.shape == (500, 6)
    np.testing.assert_allclose(np.abs(cloud[:, :3]).max(axis=1), STAGE_SIDE_M / 2, atol=1e-6)
    np.testing.assert_array_equal(read_cloud(path, points=500, seed=0), cloud)


def test_a_missing_library_is_named_with_what_installs_it():
    with pytest.raises(ConfigError, match=r"no_such_library.*vitlens\[files\]"):
        files.optional("no_such_library")
