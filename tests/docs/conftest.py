"""Models and homes that the pages' examples find where they are run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from pipelines.registry import promotion
from tests.pipelines.finished_run import finished_run
from tests.pipelines.registered import challenge
from tests.tiny_models import LENS, SIGNAL, TOKENIZER
from tests.vitlens_core.rendering.glb_builder import cube
from vitlens_core.checkpoint import encode_lens
from vitlens_core.foundation import load_foundation
from vitlens_core.foundation.lit import LitFoundation
from vitlens_core.models.tower import build_tower
from vitlens_core.models.tower_settings import TowerSettings

_AXES = "".join(f"property float {axis}\n" for axis in "xyz")
_PLY = "ply\nformat ascii 1.0\nelement vertex {}\n" + _AXES + "end_header\n"


@pytest.fixture
def workplace(home: Path, tiny_lit: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a lens, its foundation, files to embed, and the lens as a champion."""
    folder = home.parent
    files = _model_files(tiny_lit)
    for name, content in files.items():
        path = folder / ("" if name.startswith("lens") else "foundation") / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    (folder / "chair.glb").write_bytes(cube().pack())
    points = np.random.default_rng(0).random((64, 3))
    rows = "\n".join(" ".join(map(str, row)) for row in points)
    (folder / "scan.ply").write_text(_PLY.format(len(points)) + rows + "\n")
    for name in ("chair.jpg", "lamp.jpg"):
        Image.fromarray(np.full((32, 32, 3), 127, np.uint8)).save(folder / name)
    model = challenge(home, finished_run(home, files=files))
    promotion.promote(home, model.name, model.version, "for the pages", force=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}")
    monkeypatch.setenv("VITLENS_HOME", str(home))
    (folder / ".vitlens").symlink_to(home)  # the pages name the home that a demo makes
    yield folder
    mlflow.set_tracking_uri("")  # an example sets it for the whole process


def _model_files(spec: str) -> dict[str, bytes]:
    """A lens of random weights on a small foundation, as an artifact holds them."""
    torch.manual_seed(0)
    foundation = load_foundation(spec, embed_dim=16, image_size_px=32)
    assert isinstance(foundation, LitFoundation)
    settings = TowerSettings.model_validate(
        {
            "modality": "point_cloud",
            "signal": SIGNAL,
            "tokenizer": TOKENIZER,
            "lens": LENS,
            "trunk": {"skip_first": 10},
        }
    )
    state = build_tower(settings, foundation.trunk).trained_state()
    described = {
        "spec": spec,
        "embed_dim": foundation.embed_dim,
        "image_size_px": foundation.image_size_px,
        "digest": foundation.digest(),
    }
    return {
        "lens.safetensors": encode_lens(state, settings, spec, foundation.digest()),
        "foundation.json": json.dumps(described).encode(),
        "projections.safetensors": save(foundation.projections.state_dict()),
    }
