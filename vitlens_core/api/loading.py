"""`load`: from a source to a model."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch

from vitlens_core import modalities as known
from vitlens_core.api.imagebind import imagebind_encoders
from vitlens_core.api.lenses import lens_encoders, lens_foundation
from vitlens_core.api.model import Model
from vitlens_core.api.pretrained import Origin
from vitlens_core.api.published import openshape_encoders, vitlens_encoders
from vitlens_core.api.sources import locate, recognise
from vitlens_core.errors import ConfigError
from vitlens_core.foundation import Foundation
from vitlens_core.models.reference_config import ConfigSource
from vitlens_core.precision import Precision

_PUBLISHED = {
    "vitlens": vitlens_encoders,
    "openshape": openshape_encoders,
    "imagebind": imagebind_encoders,
}


def load(
    *sources: str | Path,
    modalities: Collection[str] | None = None,
    foundation: Foundation | str | Path | None = None,
    config: ConfigSource | None = None,
    device: str | torch.device = "cpu",
    precision: Precision = "fp32",
) -> Model:
    """A model from lens checkpoints of one foundation, from one published checkpoint, or of a
    foundation alone.

    Args:
        sources: a lens (`lens.safetensors`, its folder, a folder that `save_pretrained`
            wrote, `models:/…`), several of them, or a
            checkpoint of ViT-Lens, OpenShape or ImageBind (.safetensors or .pt). Without any,
            the model has the image, video and text of `foundation`.
        modalities: those to hold in memory; all that the sources offer where not given. Image,
            video and text come with the foundation, whole or not at all.
        foundation: of a lens: an object, a spec, or a folder with foundation.json. Where not
            given it is looked for beside the lens, then loaded by its spec.
        config: sizes of a published checkpoint; those of ViT-Lens-L or ImageBind-Huge where
            not given.
        precision: of the towers; embeddings are fp32.

    Raises:
        ConfigError: a source, modality or foundation that does not exist.
        CheckpointError: weights that fit neither their config nor their foundation.
    """
    if not sources and foundation is None:
        raise ConfigError(
            "load what? Name a lens checkpoint, models:/…, a published checkpoint, or a foundation"
        )
    for name in modalities or ():
        known.load(name)
    files = [locate(source) for source in sources]
    kinds = {recognise(path) for path in files}
    device = torch.device(device)
    origin = None
    if kinds <= {"lens"}:
        _refuse(config, "config", "published checkpoints")
        base = lens_foundation(files[0] if files else None, foundation).to(device)
        encoders = lens_encoders(files, base, modalities, device)
        origin = Origin(files[0], base) if len(files) == 1 else None
    elif len(files) == 1:
        _refuse(foundation, "foundation", "lens checkpoints")
        encoders = _PUBLISHED[kinds.pop()](files[0], config, modalities, device)
    else:
        raise ConfigError(f"several sources must all be lenses; found {', '.join(sorted(kinds))}")
    if missing := [name for name in modalities or () if name not in encoders]:
        raise ConfigError(
            f"{', '.join(map(str, sources)) or foundation} cannot encode {', '.join(missing)}; "
            f"of those asked for it can: {', '.join(encoders) or 'none'}"
        )
    kept = {n: e for n, e in encoders.items() if modalities is None or n in modalities}
    return Model(kept, device, precision, origin)


def _refuse(option: object, name: str, of_what: str) -> None:
    if option is not None:
        raise ConfigError(f"`{name}` is for {of_what}; leave it out here")
