"""Opens sources as encoders: our lenses, or one published checkpoint."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from vitlens_core import modalities as known
from vitlens_core.api.encoders import Encoder
from vitlens_core.api.imagebind import imagebind_encoders
from vitlens_core.api.lenses import Origin, lens_encoders, lens_foundation
from vitlens_core.api.published import openshape_encoders, vitlens_encoders
from vitlens_core.api.recognising import recognise
from vitlens_core.errors import ConfigError
from vitlens_core.foundation.base import Foundation
from vitlens_core.models.reference_config import ConfigSource
from vitlens_core.sources import locate

_PUBLISHED = {
    "vitlens": vitlens_encoders,
    "openshape": openshape_encoders,
    "imagebind": imagebind_encoders,
}


class Opened(NamedTuple):
    """Encoders by modality, and what they stand on.

    Attributes:
        origin: the lens, where they come from one.
        foundation: of lenses; None for a published checkpoint.
    """

    encoders: dict[str, Encoder]
    origin: Origin | None
    foundation: Foundation | None


def open_encoders(
    sources: Sequence[str | Path],
    modalities: Collection[str] | None,
    foundation: Foundation | str | Path | None,
    config: ConfigSource | None,
    device: torch.device,
) -> Opened:
    """Open the encoders by modality.

    Args:
        sources, modalities, foundation, config: as `Model.load` takes them.

    Raises:
        ConfigError, CheckpointError: as `Model.load`.
    """
    if not sources and foundation is None:
        raise ConfigError(
            "nothing to load: name a lens checkpoint, models:/…, a published checkpoint "
            "or a foundation"
        )
    # A misspelt name is refused here, before any weights are read.
    for name in modalities or ():
        known.load(name)
    files = [locate(source) for source in sources]
    kinds = {recognise(path) for path in files}
    origin = base = None
    # Without sources the set is empty: a foundation alone is a model of its own modalities.
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
            f"of those asked for, it can encode: {', '.join(encoders) or 'none'}"
        )
    kept = {n: e for n, e in encoders.items() if modalities is None or n in modalities}
    return Opened(kept, origin, base)


def _refuse(option: object, name: str, of_what: str) -> None:
    if option is not None:
        raise ConfigError(f"`{name}` is for {of_what}; leave it out here")
