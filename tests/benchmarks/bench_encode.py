"""Inputs embedded per second, by modality, size of the ViT and precision; and peak memory.

    python -m tests.benchmarks.bench_encode [--modalities point_cloud image] [--sizes B/16 L/14]
        [--precisions fp32 bf16] [--batch 8] [--repeats 5] [--tiny]

Random weights, prepared signals, on the GPU where there is one. Each case runs in a process of
its own and prints one line of JSON: the median over repeats after a warm-up. bf16 is left out
where the processor only emulates it. --tiny: a ViT of two blocks, to see that it runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from multiprocessing import get_context
from typing import Any

import open_clip
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from torch import Tensor

from tests.benchmarks.machine import device, multiplies_bf16, peak_memory_on_mb, timed
from vitlens_core import modalities
from vitlens_core.foundation.clip import OpenClipFoundation
from vitlens_core.models.tower import build_tower
from vitlens_core.models.tower_settings import TowerSettings
from vitlens_core.precision import Precision, autocast

MODELS = {"B/16": "ViT-B-16", "L/14": "ViT-L-14", "bigG/14": "ViT-bigG-14"}
ENCODED = ("image", "text")


@dataclass(frozen=True)
class Case:
    modality: str
    size: str
    precision: Precision
    batch: int
    repeats: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    known = [*ENCODED, *modalities.lensed()]
    parser.add_argument("--modalities", nargs="+", choices=known, default=known)
    parser.add_argument("--sizes", nargs="+", choices=MODELS, default=["B/16", "L/14"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tiny", action="store_true")
    for case in _cases(parser.parse_args()):
        print(json.dumps(_in_own_process(case)), flush=True)


def _cases(args: argparse.Namespace) -> Iterator[Case]:
    sizes = ["tiny"] if args.tiny else args.sizes
    repeats = 1 if args.tiny else args.repeats
    for modality, size, precision in product(args.modalities, sizes, args.precisions):
        if precision == "fp32" or multiplies_bf16():
            yield Case(modality, size, precision, args.batch, repeats)


def _in_own_process(case: Case) -> dict[str, Any]:
    """Peak memory is a process's: each case gets a fresh one."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, case).result()


def measure(case: Case) -> dict[str, Any]:
    """Seconds per batch (median, slowest), inputs per second, parameters and peak memory."""
    place = device()
    with torch.inference_mode():
        encode, parameters = _encoder(case, place)

        def embed() -> None:
            with autocast(case.precision, place):
                encode()

        seconds = [timed(embed) for _ in range(case.repeats + 1)][1:]
    median = statistics.median(seconds)
    return asdict(case) | {
        "device": place.type,
        "threads": torch.get_num_threads(),
        "parameters_m": round(parameters / 1e6, 1),
        "inputs_per_s": round(case.batch / median, 3),
        "batch_s": round(median, 4),
        "slowest_batch_s": round(max(seconds), 4),
        "peak_memory_mb": round(peak_memory_on_mb(place)),
    }


def _encoder(case: Case, device: torch.device) -> tuple[Callable[[], Tensor], int]:
    """What embeds the case's batch, and how many parameters it has."""
    model = foundation(case.size).to(device)
    if case.modality == "image":
        side = model.image_size_px
        images = torch.randint(256, (case.batch, side, side, 3), dtype=torch.uint8)
        return lambda: model.encode_image(images), _size(model.clip.visual)
    if case.modality == "text":
        texts = ["a photograph of a wooden chair beside a window"] * case.batch
        parameters = _size(model.clip) - _size(model.clip.visual)
        return lambda: model.encode_text(texts), parameters
    settings = tower_settings(case.modality, model)
    tower = build_tower(settings, model.trunk).eval().to(device)
    signal = example(settings, case.batch).to(device)
    return lambda: tower(signal), _size(tower)


def _size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def foundation(size: str) -> OpenClipFoundation:
    """CLIP of a size with random weights."""
    if size != "tiny":
        with device():  # on a CPU, random weights of bigG take a minute
            clip: Any = open_clip.create_model(MODELS[size], pretrained=None)
    else:
        vision = CLIPVisionCfg(layers=2, width=64, head_width=32, patch_size=14, image_size=224)
        clip = CLIP(embed_dim=32, vision_cfg=vision, text_cfg=CLIPTextCfg(width=64, layers=1))
        clip.visual.preprocess_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "size": (224, 224)}
    tokenizer = open_clip.get_tokenizer("ViT-B-16")
    model = OpenClipFoundation(f"open_clip:{size}", clip, tokenizer)
    model.freeze()
    return model


def tower_settings(modality: str, model: OpenClipFoundation) -> TowerSettings:
    """The paper's tower on this trunk: tokens of the trunk's width and patches of its size."""
    known = modalities.load_lensed(modality)
    width, patch = model.trunk.width, model.clip.visual.conv1.kernel_size[0]
    fields = known.Tokenizer.model_fields
    fitted = {"width": width, "patch_px": patch, "patch": patch}
    tokenizer = {name: value for name, value in fitted.items() if name in fields}
    if modality in ("point_cloud", "imu"):
        del tokenizer["width"]  # the lens takes tokens of another width there
    latents = len(model.trunk.positions) - 1
    lens = known.lens.model_copy(update={"latents": latents, "latent_heads": width // 64})
    return TowerSettings.of(modality, tokenizer=tokenizer, lens=lens)


def example(settings: TowerSettings, batch: int) -> Tensor:
    """A batch of one made-up signal as the tower sees it. Values don't matter to the time."""
    signal = settings.signal_needed
    stored = torch.from_numpy(signal.store(signal.example()))
    return settings.tokenizer_config.prepare(stored.expand(batch, *stored.shape), signal)


if __name__ == "__main__":
    main()
