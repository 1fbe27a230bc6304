"""teachers: trained lenses whose embeddings of their own modalities teach another modality.

`teachers: {depth: models:/vitlens-depth@champion}` names one. Its foundation becomes the run's, so
that all share one embedding space. Samples also store the signals of its modality
(`teacher_depth.npy`), and its embeddings of these are targets of the kind `teacher_depth` beside,
or instead of, those of images and captions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.foundation.step import FoundationConfig
from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.foundation.info import FoundationInfo
from vitlens_core.lens_header import read_settings
from vitlens_core.model_files import FOUNDATION_FILE
from vitlens_core.models.tower_settings import TowerSettings
from vitlens_core.sources import locate

_IN_COMMON = {"spec", "embed_dim", "image_size_px", "background"}  # of settings and description


def lens_file(name: str) -> str:
    """Return the name of a teacher's checkpoint in the foundation's artifact."""
    return f"teacher_{name}.safetensors"


@dataclass(frozen=True)
class Teacher:
    """A registered lens on this machine; `folder` holds its foundation beside it."""

    lens: Path
    settings: TowerSettings

    @property
    def folder(self) -> Path:
        return self.lens.parent

    @property
    def foundation(self) -> FoundationInfo:
        return FoundationInfo.model_validate_json((self.folder / FOUNDATION_FILE).read_bytes())

    @property
    def digest(self) -> str:
        """SHA-256 of the checkpoint, which names the foundation's digest too."""
        return hashlib.sha256(self.lens.read_bytes()).hexdigest()


def find_teachers(specs: Mapping[str, str], stated: FoundationConfig) -> dict[str, Teacher]:
    """Return the lenses that `models:/…` name now, by the names of their teachers.

    Args:
        stated: the run's settings of the foundation, which must agree with that of the lenses.

    Raises:
        ConfigError: no such model, version or alias (the message names the existing ones), two
            lenses were trained in different spaces, or another foundation is stated.
        CheckpointError: a model is no lens with its foundation beside it.
    """
    teachers = {name: _find(spec) for name, spec in specs.items()}
    foundations = {name: teacher.foundation for name, teacher in teachers.items()}
    if len({info.digest for info in foundations.values()}) > 1:
        spaces = "; ".join(
            f"{name}: {info.spec} ({info.digest[:12]})" for name, info in foundations.items()
        )
        raise ConfigError(
            f"teachers: their lenses were trained in different embedding spaces ({spaces}); name "
            "lenses that share one foundation"
        )
    for name, info in foundations.items():
        for field in sorted(_IN_COMMON & stated.model_fields_set):
            asked, found = getattr(stated, field), getattr(info, field)
            if asked not in (None, found):
                raise ConfigError(
                    f"foundation.{field}: {asked} is stated, and the foundation of teachers.{name} "
                    f"({specs[name]}) has {found}, which is the run's then; state that, or nothing"
                )
    return teachers


def _find(spec: str) -> Teacher:
    lens = locate(spec)
    if not (lens.parent / FOUNDATION_FILE).is_file():
        raise CheckpointError(f"{spec}: {lens.parent} lacks {FOUNDATION_FILE}; register it again")
    return Teacher(lens, read_settings(lens)[0])
