"""A consumer with nothing of ours: a new virtual environment of the model's own requirements."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.registry import models, own_store
from tests.pipelines.finished_run import finished_run
from tests.pipelines.registered import NAME, challenge
from tests.pipelines.registry.test_models import real_lens, seen
from tests.vitlens_core.rendering.glb_builder import cube

CONSUMER = """
import importlib.util, sys
import mlflow, numpy as np
assert not any(importlib.util.find_spec(n) for n in ("ray", "dagster", "pipelines", "workflows"))
model = mlflow.pyfunc.load_model(f"models:/{sys.argv[1]}@challenger")
clouds = list(np.load(sys.argv[2]))
glb = sys.argv[3]
found = model.predict([*clouds, glb, open(glb, "rb").read()])
np.save(sys.argv[4], found)
refused = {}
wrongs = {"html": b"<html>", "shape": np.zeros((4, 5)), "nan": clouds[0] * np.nan}
for name, wrong in wrongs.items():
    try:
        model.predict([clouds[0], wrong])
    except Exception as error:
        refused[name] = f"{type(error).__name__}: {error}"
print(refused)
"""


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_a_model_needs_its_own_requirements_and_nothing_else(home: Path, tmp_path: Path) -> None:
    tower, settings, files = real_lens()
    challenge(home, finished_run(home, files=files))
    package = models.download(f"models:/{NAME}@challenger", home)
    python = _environment(tmp_path / "venv", package / "requirements.txt")
    clouds = np.random.default_rng(0).uniform(size=(2, 100, 6)).astype(np.float32)
    np.save(tmp_path / "clouds.npy", clouds)
    (tmp_path / "cube.glb").write_bytes(cube().pack())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    given = [NAME, *(str(tmp_path / n) for n in ("clouds.npy", "cube.glb", "found.npy"))]
    done = subprocess.run(
        [str(python), "-c", CONSUMER, *given],
        cwd=elsewhere,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(elsewhere),
            "MLFLOW_TRACKING_URI": own_store.tracking_uri(home),
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        },
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr[-3000:]
    found = np.load(tmp_path / "found.npy")
    with torch.inference_mode():
        expected = tower(seen(settings, list(clouds))).numpy()
    np.testing.assert_allclose(found[:2], expected, atol=1e-6)
    np.testing.assert_allclose(found[2], found[3], atol=0)  # a path and its bytes
    refused = done.stdout.strip().splitlines()[-1]
    assert "point_cloud[1]: expected the bytes of a file whose format they tell" in refused
    assert "found HTML (6 bytes)" in refused
    assert refused.count("InputError: point_cloud[1]") == 3


def _environment(folder: Path, requirements: Path) -> Path:
    """A new virtual environment; uv links from its cache what is installed here already."""
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [uv, "pip", "install", "-q", "--python", str(python), "-r", str(requirements)], check=True
    )
    return python
