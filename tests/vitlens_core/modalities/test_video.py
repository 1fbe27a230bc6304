"""Video: frames as images."""

import numpy as np
import soundfile
import torch

from tests.contracts.examples import Example, pixels
from tests.contracts.malformed import RGB, File, file_of_bytes, no_file
from tests.tiny_models import TinyFoundation
from vitlens_core.modalities.image import MODALITY as IMAGE
from vitlens_core.modalities.video import MODALITY as VIDEO

RNG = np.random.default_rng(0)
FOUNDATION = TinyFoundation()
SIDE_PX = FOUNDATION.image_size_px

EXAMPLE = Example(
    raw=pixels(3, 20, 30, 3),
    refused=(np.ones((3, 20, 30, 3), np.float32), np.ones((20, 30, 3), np.uint8)),
    malformed=(
        ("absent", no_file("a.mp4"), "found nothing"),
        ("empty file", file_of_bytes("a.mp4", b""), "empty file"),
        ("not a video", file_of_bytes("a.mp4", b"\x00" * 4096), "begins with b"),
        (
            "a sound",
            File("a.mp4", lambda p: soundfile.write(p, np.ones(1000), 16_000, format="WAV")),
            "found WAV",
        ),
        ("wrong ending", file_of_bytes("a.wav", b"abc"), r"expected a video \("),
        ("one image", RGB, r"\[S, H, W, 3\], found \[32, 40, 3\]"),
        ("floats", RGB[None] / 255, "uint8"),
        ("channels first", RGB.transpose(2, 0, 1)[None], r"found \[1, 3, 32, 40\]"),
        ("no frame", RGB[None][:0], r"found \[0, 32, 40, 3\]"),
        ("a list of frames", [RGB, RGB], "found list"),
    ),
)


def _picture(height: int = 20, width: int = 30) -> np.ndarray:
    return RNG.integers(256, size=(height, width, 3), dtype=np.uint8)


def test_a_video_of_one_frame_is_an_image():
    picture = _picture()
    as_image = IMAGE.embed(FOUNDATION, [IMAGE.store(picture, SIDE_PX)])
    as_video = VIDEO.embed(FOUNDATION, [VIDEO.store(picture[None], SIDE_PX)])
    torch.testing.assert_close(as_video, as_image)


def test_a_video_is_the_mean_of_its_frames():
    frames = np.stack([_picture() for _ in range(3)])
    embedded = IMAGE.embed(FOUNDATION, [IMAGE.store(frame, SIDE_PX) for frame in frames])
    both = VIDEO.embed(FOUNDATION, [VIDEO.store(frames, SIDE_PX), VIDEO.store(frames[:1], SIDE_PX)])
    expected = torch.nn.functional.normalize(embedded.mean(0), dim=0)
    torch.testing.assert_close(both, torch.stack([expected, embedded[0]]))
