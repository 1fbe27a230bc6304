"""A lens as a folder in the hub's conventions: config.json, safetensors and a model card.

Reads     a folder that `save_pretrained` wrote, or a repository of that content on the hub.
Writes    config.json            settings, foundation and calibration of the lens
          model.safetensors      the trained tensors, as in lens.safetensors
          projections.safetensors  a `lit` foundation's fitted projections
          prototypes.safetensors  of classes, where the foundation has no words
          README.md              the model card that lies beside the lens (a registered model has
                                 one with its data and figures), or one that says how to load it
Promises  it does not write frozen weights; these come from the foundation's spec.
"""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

from huggingface_hub import ModelHubMixin, snapshot_download
from safetensors.torch import save_file

from vitlens_core.api.lenses import CONFIG_FILE, Origin, beside
from vitlens_core.errors import ConfigError
from vitlens_core.foundation.info import FoundationInfo
from vitlens_core.foundation.lit import LitFoundation
from vitlens_core.lens_header import read_settings
from vitlens_core.model_files import (
    CARD_FILE,
    PRETRAINED_FILE,
    PROJECTIONS_FILE,
    PROTOTYPES_FILE,
)


class Pretrained(ModelHubMixin, ABC, library_name="vitlens", pipeline_tag="feature-extraction"):
    """`save_pretrained`, `from_pretrained` and `push_to_hub` of a model of one lens."""

    _origin: Origin | None = None

    @classmethod
    @abstractmethod
    def load(cls, *sources: Any, **options: Any) -> Self:
        """Load the model of a folder."""

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write the folder; `push_to_hub=True` uploads it too.

        Raises:
            ConfigError: the model has not exactly one lens, or it was loaded from this folder.
        """
        if self._origin is None:
            raise ConfigError(
                "save_pretrained writes one lens: load one lens checkpoint alone; published "
                "checkpoints and several lenses in one model are not saved"
            )
        # The mixin deletes config.json first, which here is the one the model still needs.
        if Path(save_directory).resolve() == self._origin.lens.parent.resolve():
            raise ConfigError(f"the model was loaded from {save_directory}: name another folder")
        return super().save_pretrained(save_directory, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        assert self._origin is not None
        lens, foundation = self._origin.lens, self._origin.foundation
        settings, spec, digest = read_settings(lens)
        info = FoundationInfo(
            spec=spec,
            digest=digest,
            embed_dim=foundation.embed_dim,
            image_size_px=foundation.image_size_px,
        )
        described = {
            "model_type": "vitlens",
            "modality": settings.modality,
            "settings": settings.model_dump(mode="json"),
            "foundation": info.model_dump(mode="json", exclude_unset=True),
            "calibration": beside(lens).get("calibration"),
        }
        shutil.copyfile(lens, save_directory / PRETRAINED_FILE)
        if isinstance(foundation, LitFoundation):
            state = foundation.projections.state_dict()
            save_file(state, save_directory / PROJECTIONS_FILE)
        known = lens.with_name(PROTOTYPES_FILE)
        if known.is_file():
            shutil.copyfile(known, save_directory / PROTOTYPES_FILE)
        card = lens.with_name(CARD_FILE)
        if card.is_file():
            shutil.copyfile(card, save_directory / CARD_FILE)
        else:  # otherwise the mixin writes one full of "[More Information Needed]"
            text = _CARD.format(modality=settings.modality, spec=spec, digest=digest[:16])
            (save_directory / CARD_FILE).write_text(text)
        (save_directory / CONFIG_FILE).write_text(json.dumps(described, indent=2))

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> Self:
        """Load from a folder or from the hub. Raises ConfigError, CheckpointError."""
        # What the mixin adds to the options; `load` knows none of it.
        hub_options = {name: options.pop(name, None) for name in _OF_THE_HUB}
        if Path(model_id).is_dir():
            return cls.load(model_id, **options)
        fetch_options = {n: value for n, value in hub_options.items() if n in _FETCHED_WITH}
        return cls.load(snapshot_download(model_id, **fetch_options), **options)


_CARD = """\
---
library_name: vitlens
pipeline_tag: feature-extraction
tags:
- vitlens
- {modality}
---
# A lens for {modality}

It embeds {modality} next to the images and words of the frozen model `{spec}` (digest `{digest}`).

```python
import vitlens_core

model = vitlens_core.Model.from_pretrained("folder or repository")
model.encode({{"{modality}": ["a file"], "text": ["a word"]}})
```

It was saved from a lens file alone. Data, licences and figures stand in the card of the registered
model.
"""
_FETCHED_WITH = ("revision", "cache_dir", "force_download", "local_files_only", "token")
# huggingface_hub 0.x passes these two as well; 1.x no longer has them.
_OF_THE_HUB = (*_FETCHED_WITH, "proxies", "resume_download")
