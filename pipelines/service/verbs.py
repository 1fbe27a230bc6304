"""verbs: which of /ask, /detect and /imagine are answered, by what, and what all three check.

Axes: B inputs, E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from pipelines.service.config import WINDOWS
from pipelines.service.refusal import RefusedError
from pipelines.service.schemas import Item
from pipelines.service.versions import Loaded
from vitlens_core.api.asking import WITHOUT_MODEL
from vitlens_core.api.classes import knows_classes
from vitlens_core.errors import InputError

RETRIEVAL = "retrieval"
PICTURES = "image"  # the kind of vectors of an index by which pictures are found


def offered(loaded: Loaded) -> dict[str, str]:
    """Return the verbs that are answered, and by what."""
    companions, found = loaded.companions, {}
    if companions.question_model is not None:
        found["ask"] = _named(companions.question_model.source)
    elif knows_classes(loaded.model):
        found["ask"] = WITHOUT_MODEL
    if companions.detector is not None:
        detector = companions.detector
        found["detect"] = WINDOWS if isinstance(detector, str) else _named(detector.source)
    if companions.decoder is not None:
        found["imagine"] = _named(companions.decoder.source)
    elif loaded.catalogue is not None and PICTURES in loaded.catalogue.kinds:
        found["imagine"] = RETRIEVAL
    return found


def fused(loaded: Loaded, embedded: dict[str, Tensor], weights: dict[str, float] | None) -> Tensor:
    """Sum embeddings [B, E] with weights (`RefusedError`: they cancel out)."""
    try:
        return loaded.model.fuse(embedded, weights)
    except InputError as error:
        raise RefusedError(422, "input", str(error), "weights that leave something") from error


def answers_by(loaded: Loaded, verb: str, expected: str) -> str:
    """Return what answers a verb (`RefusedError`: nothing does)."""
    by = offered(loaded).get(verb)
    if by is None:
        raise RefusedError(404, "verb", f"no /{verb}: the model was opened without it", expected)
    return by


def check_most(name: str, value: int, most: int) -> None:
    """Refuse a setting above a limit (`RefusedError`)."""
    if value > most:
        raise RefusedError(422, "input", f"{value:,} {name}", f"{most:,} or fewer")


def check_distinct(items: Sequence[Item]) -> None:
    """Refuse two inputs of one modality where all are one thing (`RefusedError`)."""
    names = [item.modality for item in items]
    if twice := next((name for name in names if names.count(name) > 1), None):
        found = f"two inputs of {twice[:40]} that belong together"
        raise RefusedError(422, "input", found, "one of each modality")


def _named(source: str) -> str:
    """Return a hub name as it is, and of a folder of this machine its last part."""
    return Path(source).name if Path(source).exists() else source
