"""A copy of the checkout to add a made-up modality to, and recordings to train it on."""

from __future__ import annotations

import csv
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
CLASSES = {"wreck": (200, 60, 40), "reef": (40, 160, 90), "whale": (50, 80, 200)}


def copy_checkout(folder: Path) -> None:
    """The sources under git, without the shipped objects and the parity data."""
    unneeded = shutil.ignore_patterns("__pycache__", "mini-objaverse", "parity")
    for part in ("vitlens_core", "pipelines", "workflows", "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=unneeded)
    for file in ("pyproject.toml", ".gitignore"):
        shutil.copy(ROOT / file, folder)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "before")


def git(folder: Path, *arguments: str) -> str:
    return run(folder, "git", *arguments).stdout


def run(folder: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program of the environment, in a copy of the checkout and on its sources."""
    installed = Path(sys.executable).with_name(program)
    done = subprocess.run(
        [installed if installed.exists() else program, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "VITLENS_HOME": str(folder / ".vitlens")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{program} {' '.join(arguments)}\n{done.stdout}{done.stderr}"
    return done


def write_recordings(science: Path, folder: Path, per_class: int) -> None:
    """Variations of the modality's own example with an image, a caption and a label each."""
    example = runpy.run_path(str(science), run_name="science")["MODALITY"].Signal().example()
    rng = np.random.default_rng(0)
    rows = []
    for number in range(per_class * len(CLASSES)):
        label = list(CLASSES)[number % len(CLASSES)]
        stem = f"{label}-{number:02d}"
        noisy = example + 0.3 * rng.normal(size=example.shape)
        np.save(folder / f"{stem}.npy", np.roll(noisy, number % len(CLASSES), axis=0))
        picture = np.clip(rng.normal(CLASSES[label], 30, (48, 64, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{stem}.png")
        rows.append((f"{stem}.npy", f"{stem}.png", f"the echo of a {label}", label))
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("signal", "image", "text", "label"), *rows])
