"""teacher: a trained lens whose embeddings of its own modality teach another modality.

`foundation: models:/vitlens-depth@champion` names one. Its foundation becomes the run's, so that
both share one embedding space. Samples also store the signal of its modality (`teacher.npy`), and
its embeddings of these are targets beside, or instead of, those of images and captions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipelines.foundation.step import names_a_lens
from vitlens_core.api.sources import locate
from vitlens_core.checkpoint import read_settings
from vitlens_core.errors import CheckpointError
from vitlens_core.model_files import FOUNDATION_FILE
from vitlens_core.models.tower_settings import TowerSettings

LENS = "teacher.safetensors"  # in the foundation's artifact


@dataclass(frozen=True)
class Teacher:
    """A registered lens on this machine; `folder` holds its foundation beside it."""

    lens: Path
    settings: TowerSettings

    @property
    def folder(self) -> Path:
        return self.lens.parent

    @property
    def digest(self) -> str:
        """SHA-256 of the checkpoint, which names the foundation's digest too."""
        return hashlib.sha256(self.lens.read_bytes()).hexdigest()


def find_teacher(spec: str) -> Teacher | None:
    """Return the lens that `models:/…` names now, or None for the spec of a plain foundation.

    Raises:
        ConfigError: no such model, version or alias; the message names the existing ones.
        CheckpointError: the model is no lens with its foundation beside it.
    """
    if not names_a_lens(spec):
        return None
    lens = locate(spec)
    if not (lens.parent / FOUNDATION_FILE).is_file():
        raise CheckpointError(f"{spec}: {lens.parent} lacks {FOUNDATION_FILE}; register it again")
    return Teacher(lens, read_settings(lens)[0])
