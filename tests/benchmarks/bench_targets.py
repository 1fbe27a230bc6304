"""Images encoded per second by the targets' processor, against a plain loop over the same model.

    python -m tests.benchmarks.bench_targets [--size b16] [--samples 8] [--repeats 3]

A shard of objects with 12 views of 224 px (RGBA PNGs) and no caption. The processor reads the
shard, decodes, composites, encodes and yields targets; the loop calls the model on the same images,
ready as one tensor per object. Random weights. Prints JSON: medians, and the ratio within one run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from statistics import median
from unittest.mock import patch

import numpy as np
import torch
from upath import UPath

from pipelines.execution.shard_tasks import ShardTask
from pipelines.foundation.features import composite_views
from pipelines.shards.sample import SampleInfo
from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import Artifact
from pipelines.store.files import write_atomic
from pipelines.store.shards import Sample, encode_model, encode_png, write_shard
from pipelines.targets import encoder as targets
from pipelines.targets.step import TargetsConfig
from tests.benchmarks.bench_encode import foundation
from tests.benchmarks.machine import SIZES, device, timed
from vitlens_core.foundation.clip import OpenClipFoundation
from vitlens_core.foundation.info import FoundationInfo

VIEWS, NAME = 12, "train-00000"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="b16")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    model = foundation(SIZES[args.size])
    with tempfile.TemporaryDirectory() as folder:
        store = Store(UPath(folder))
        made = measure(shards(store, args.samples), described(store), model, args.repeats)
    print(json.dumps({"size": args.size, **made}, indent=2))


def measure(
    made: Artifact, frozen: Artifact, model: OpenClipFoundation, repeats: int
) -> dict[str, float | str]:
    with patch.object(targets, "open_foundation", lambda _: model):
        processor = targets.TargetEncoder(TargetsConfig(), made, frozen, device().type)
    images = [composite_views(sample, 255) for sample in made.read(NAME)]

    def staged() -> None:
        for _ in processor.samples(ShardTask(NAME)):
            pass

    def plain() -> None:
        for views in images:
            processor.foundation.encode_image(views).cpu()

    plain()
    pairs = [(timed(staged), timed(plain)) for _ in range(repeats)]
    count = len(images) * VIEWS
    staged_s, plain_s = (median(seconds) for seconds in zip(*pairs, strict=True))
    return {
        "device": device().type,
        "threads": torch.get_num_threads(),
        "images": count,
        "staged_images_per_s": round(count / staged_s, 2),
        "plain_images_per_s": round(count / plain_s, 2),
        "share_of_plain_loop": round(plain_s / staged_s, 3),
    }


def shards(store: Store, count: int) -> Artifact:
    """Objects of random views over a transparent background."""
    rng = np.random.default_rng(0)
    build = store.begin("shards", 1, {}, {})
    samples = (_sample(rng, number) for number in range(count))
    entry, written = write_shard(build.folder / f"{NAME}.tar", samples)
    return build.commit([entry], {"samples": written})


def _sample(rng: np.random.Generator, number: int) -> Sample:
    views = np.zeros((VIEWS, 224, 224, 4), np.uint8)
    views[:, 48:176, 48:176] = rng.integers(256, size=(VIEWS, 128, 128, 4), dtype=np.uint8)
    info = SampleInfo(name="", label="chair", group=str(number), split="train")
    pictures = {f"view{view:02d}.png": encode_png(views[view]) for view in range(VIEWS)}
    return {"__key__": f"object{number:06d}", **pictures, "json": info.encode()}


def described(store: Store) -> Artifact:
    """What steps ask a foundation's artifact for, beside the model."""
    build = store.begin("foundation", 1, {}, {})
    info = FoundationInfo(spec="", embed_dim=1, image_size_px=1, digest="0" * 64)
    known = encode_model(info)
    return build.commit([write_atomic(build.folder / "foundation.json", known)], {})


if __name__ == "__main__":
    main()
