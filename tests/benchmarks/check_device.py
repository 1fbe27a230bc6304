"""Whether this machine's device computes what a CPU does: every kernel and path, one line each.

    python -m tests.benchmarks.check_device [--only knn …]

Small sizes and random weights. Prints one line of JSON per check: its largest difference from the
CPU in fp32, what is allowed, and seconds. Status 1 if one fails. Without a GPU the device is the
CPU itself, which shows that the checks run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from pipelines.execution.runtime import Resources
from pipelines.lens import parallel
from pipelines.lens.chunked_loss import in_chunks
from tests.benchmarks.bench_encode import example, foundation, tower_settings
from tests.benchmarks.bench_rendering import shipped_objects
from tests.benchmarks.bench_training import trainer_of
from tests.benchmarks.machine import device
from vitlens_core import modalities
from vitlens_core.losses.base import LOSSES, Pairs
from vitlens_core.models.knn_kernel import fused_knn
from vitlens_core.models.points import squared_distances
from vitlens_core.models.tower import build_tower
from vitlens_core.models.tower_settings import TowerSettings
from vitlens_core.precision import autocast, tf32
from vitlens_core.rendering import RenderSettings, RenderWorker, is_software
from vitlens_core.row_generator import RowGenerator

ROWS = 4


@dataclass(frozen=True)
class Found:
    """One check.

    Attributes:
        difference: largest difference from the CPU; None if the check did not apply.
        allowed: what it may be.
        note: what a reader should know.
    """

    check: str
    difference: float | None
    allowed: float
    note: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return self.difference is None or self.difference <= self.allowed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=list(CHECKS))
    found = [one for name in parser.parse_args().only for one in _run(name)]
    sys.exit(not all(one.passed for one in found))


def _run(name: str) -> Iterator[Found]:
    start = time.perf_counter()
    for found in CHECKS[name]():
        seconds = time.perf_counter() - start
        print(json.dumps(asdict(found) | {"seconds": round(seconds, 2), "passed": found.passed}))
        sys.stdout.flush()
        yield found
        start = time.perf_counter()


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest expected number."""
    expected = expected.detach().double()
    largest = expected.abs().max().clamp_min(1e-12)
    return ((found.detach().cpu().double() - expected).abs().max() / largest).item()


def draws() -> Iterator[Found]:
    here, there = (RowGenerator.of("0/0", range(ROWS), place) for place in ("cpu", device()))
    for name in ("bits", "randn", "rand"):
        drawn = (getattr(each, name)(ROWS, 1000) for each in (there, here))
        yield Found(f"draws, {name}", difference(*drawn), 0.0)


def augmentation() -> Iterator[Found]:
    """Sines and reductions of a GPU differ from those of a CPU in the last bits."""
    for name in modalities.lensed():
        settings = TowerSettings.of(name)
        signal, tokenizer = settings.signal_config, settings.tokenizer_config
        stored = torch.from_numpy(np.stack([signal.store(signal.example())] * ROWS))
        for how in ("prepare", "augment"):
            seen = []
            for place in (device(), torch.device("cpu")):
                drawn = (RowGenerator.of("0/0", range(ROWS), place),) if how == "augment" else ()
                seen.append(getattr(tokenizer, how)(stored.to(place), signal, *drawn))
            yield Found(f"{how}, {name}", difference(*seen), 1e-4)


def knn() -> Iterator[Found]:
    for points, groups, k in ((1024, 64, 16), (8192, 512, 32), (1000, 33, 24)):
        xyz = torch.randn(2, points, 3)
        expected = (
            squared_distances(xyz[:, :groups], xyz).topk(k, largest=False, sorted=True).values
        )
        name = f"fused knn, {points} points, {k} of them"
        if device().type != "cuda":
            yield Found(name, None, 1e-5, "no GPU: the interpreter runs the kernel in the tests")
            continue
        there = xyz.to(device())
        found = fused_knn(there, there[:, :groups], k)
        assert found is not None, "Triton is missing"
        distances = squared_distances(there[:, :groups], there).gather(2, found)
        yield Found(name, difference(distances, expected), 1e-5)


def towers() -> Iterator[Found]:
    """Every modality's tower forward, in fp32 and in bf16, against fp32 on the CPU."""
    model = foundation("tiny").cpu()
    for name in modalities.lensed():
        torch.manual_seed(0)
        settings = tower_settings(name, model)
        tower = build_tower(settings, model.trunk).eval()
        seen = example(settings, 2)
        with torch.no_grad():
            expected = tower(seen)
            tower, seen = tower.to(device()), seen.to(device())
            for precision, allowed in (("fp32", 1e-3), ("bf16", 0.03)):
                with autocast(precision, device()):
                    found = tower(seen).float()
                yield Found(f"tower of {name}, {precision}", difference(found, expected), allowed)
        model = model.cpu()


def encoding() -> Iterator[Found]:
    model = foundation("tiny").cpu()
    images = torch.randint(256, (ROWS, 224, 224, 3), dtype=torch.uint8)
    texts = ["a chair", "a lamp beside a window"]
    expected = model.encode_image(images), model.encode_text(texts)
    model = model.to(device())
    with tf32(device()):
        found = model.encode_image(images), model.encode_text(texts)
    for name, one, other in zip(("images", "texts"), found, expected, strict=True):
        yield Found(f"encoded {name}, TF32", difference(one, other), 1e-2)


def losses() -> Iterator[Found]:
    """In parts on the device, whole on the CPU: value and gradient."""
    for name in LOSSES.names():
        loss, slopes = LOSSES.load(name)(kind=name), []
        for place, most in ((device(), 8 * 64), (torch.device("cpu"), 64 * 64)):
            torch.manual_seed(0)
            a, b = torch.nn.functional.normalize(torch.randn(2, 64, 32), dim=-1).to(place)
            a = a.clone().requires_grad_()
            scale = torch.tensor(2.0, device=place)
            own = {n: p.to(place) for n, p in loss.initial_parameters().items()}
            labels = torch.arange(64, device=place) % 9
            in_chunks(loss, Pairs(a, b, labels), scale, own, most).backward()
            slopes.append(a.grad)
        yield Found(f"gradient of {name}", difference(*slopes), 1e-4)


def training() -> Iterator[Found]:
    """A step's gradients: recomputed, in bf16, sharded by FSDP on one rank; against plain fp32."""
    plain = _gradients(Resources(train_workers=0))
    again = _gradients(Resources(train_workers=0, activation_checkpointing=True))
    yield Found("gradients, recomputed activations", _apart(again, plain), 1e-3)
    half = _gradients(Resources(train_workers=0), precision="bf16")
    yield Found("gradients, bf16 against fp32", _apart(half, plain), 0.1, "bf16 has 8 bits")
    with tempfile.TemporaryDirectory() as folder:
        backend = "nccl" if device().type == "cuda" else "gloo"
        store = dist.FileStore(f"{folder}/meet", 1)
        dist.init_process_group(backend, store=store, rank=0, world_size=1)
        sharded = _gradients(Resources(train_workers=0, sharding="fsdp"))
        halved = _gradients(Resources(train_workers=0, sharding="fsdp"), precision="bf16")
        dist.destroy_process_group()
    yield Found(f"gradients, FSDP on one rank ({backend})", _apart(sharded, plain), 1e-3)
    yield Found("gradients, FSDP and bf16, against bf16", _apart(halved, half), 1e-2)


def _gradients(resources: Resources, precision: str = "fp32") -> dict[str, Tensor]:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(Path(folder), "tiny", ROWS, resources, precision=precision)
        trainer._backward(*next(trainer.batches()))
        slopes = {n: p.grad for n, p in trainer.parameters.items() if p.grad is not None}
        return {name: parallel._whole(slope).cpu() for name, slope in slopes.items()}


def _apart(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert found.keys() == expected.keys()
    largest = max(slope.abs().max().item() for slope in expected.values())
    return max((found[n] - expected[n]).abs().max().item() for n in expected) / largest


def rendering() -> Iterator[Found]:
    """EGL in the sandbox: what draws, and that it draws the same twice."""
    (glb,) = shipped_objects(1)
    with RenderWorker(RenderSettings(points=512)) as worker:
        first, second = worker.render(glb, 0), worker.render(glb, 0)
    unlike = float((first.rgba != second.rgba).mean())
    slow = ", which is software" if is_software(first.renderer) else ""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    yield Found("EGL", unlike, 0.0, f"{first.renderer}{slow}; CUDA_VISIBLE_DEVICES: {visible}")


CHECKS: dict[str, Callable[[], Iterator[Found]]] = {
    "draws": draws,
    "augmentation": augmentation,
    "knn": knn,
    "losses": losses,
    "encoding": encoding,
    "towers": towers,
    "training": training,
    "rendering": rendering,
}

if __name__ == "__main__":
    main()
