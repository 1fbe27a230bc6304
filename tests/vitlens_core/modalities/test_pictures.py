"""Image, video, thermal and touch: what of a picture reaches the encoder."""

import numpy as np
import torch
from PIL import Image

from tests.tiny_models import TinyFoundation
from vitlens_core.modalities import image, tactile, thermal, video

RNG = np.random.default_rng(0)
FOUNDATION = TinyFoundation()
SIDE_PX = FOUNDATION.image_size_px


def _picture(height: int = 20, width: int = 30) -> np.ndarray:
    return RNG.integers(256, size=(height, width, 3), dtype=np.uint8)


def test_images_are_seen_as_clip_sees_them():
    """Short side resized, middle kept: exactly torchvision's transforms of CLIP."""
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    clip = Compose([Resize(SIDE_PX, interpolation=InterpolationMode.BICUBIC), CenterCrop(SIDE_PX)])
    for size in ((37, 61), (61, 37), (16, 16), (5, 9)):
        picture = _picture(*size)
        expected = np.asarray(clip(Image.fromarray(picture)))
        np.testing.assert_array_equal(image.store(picture, SIDE_PX), expected)


def test_a_video_of_one_frame_is_an_image():
    picture = _picture()
    as_image = image.embed(FOUNDATION, [image.store(picture, SIDE_PX)])
    as_video = video.embed(FOUNDATION, [video.store(picture[None], SIDE_PX)])
    torch.testing.assert_close(as_video, as_image)


def test_a_video_is_the_mean_of_its_frames():
    frames = np.stack([_picture() for _ in range(3)])
    embedded = image.embed(FOUNDATION, [image.store(frame, SIDE_PX) for frame in frames])
    both = video.embed(FOUNDATION, [video.store(frames, SIDE_PX), video.store(frames[:1], SIDE_PX)])
    expected = torch.nn.functional.normalize(embedded.mean(0), dim=0)
    torch.testing.assert_close(both, torch.stack([expected, embedded[0]]))


def test_thermal_counts_are_scaled_by_the_stated_range(tmp_path):
    Image.fromarray(np.array([[0, 1000], [2000, 4000]], np.uint16)).save(tmp_path / "a.png")
    np.testing.assert_allclose(
        thermal.read(tmp_path / "a.png", coldest=1000, hottest=3000), [[0, 0], [0.5, 1]]
    )
    Image.fromarray(np.array([[0, 51], [102, 255]], np.uint8)).save(tmp_path / "b.png")
    np.testing.assert_allclose(thermal.read(tmp_path / "b.png"), [[0, 0.2], [0.4, 1]], rtol=1e-6)


def test_thermal_brightness_is_seen_from_minus_1_to_1():
    seen = thermal.Tokenizer(side_px=14).prepare(torch.full((1, 14, 14), 0.75))
    torch.testing.assert_close(seen, torch.full((1, 1, 14, 14), 0.5))


def test_the_tower_of_touch_sees_the_middle_and_training_other_crops():
    settings = tactile.Tokenizer(side_px=14)
    stored = torch.zeros(1, 16, 16, 3, dtype=torch.uint8)
    stored[:, 1:15, 1:15] = 255
    assert settings.prepare(stored).unique().numel() == 3  # one value per channel
    crops = settings.augment(stored.expand(16, -1, -1, -1), torch.Generator().manual_seed(0))
    assert crops.unique().numel() > 3
