"""Class prototypes: what a foundation without words knows of classes.

A prototype is the mean of the frozen image embeddings of a class's training samples, of which each
is the mean over its pictures (after Snell et al., Prototypical Networks, NeurIPS 2017). Signals are
then classified by the nearest prototype, where a dual encoder would compare them with words.

Axes: K classes, E embedding.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from vitlens_core import caps
from vitlens_core.checkpoint import canonical, read_tensors
from vitlens_core.errors import CheckpointError, ConfigError

FORMAT = "vitlens-prototypes-1"
_LISTED = 10  # classes in a message


class Prototypes(NamedTuple):
    """The prototypes of classes.

    Attributes:
        names: of the classes, K.
        embeddings: fp32 [K, E], unit norm.
    """

    names: tuple[str, ...]
    embeddings: Tensor

    def of(self, names: Sequence[str]) -> Tensor:
        """Return the prototypes of some classes: [K, E].

        Raises:
            ConfigError: a class has none.
        """
        place = {name: number for number, name in enumerate(self.names)}
        if missing := [name for name in names if name not in place]:
            raise ConfigError(
                f"classes {_listed(missing)}: the foundation has no words for them, and there is "
                f"no picture of them among the training samples; choose of {_listed(self.names)}"
            )
        return self.embeddings[[place[name] for name in names]]


def encode_prototypes(prototypes: Prototypes) -> bytes:
    """Encode prototypes as a safetensors file; equal ones give equal bytes."""
    metadata = {"format": FORMAT, "names": json.dumps(prototypes.names)}
    return canonical(save_tensors({"embeddings": prototypes.embeddings.contiguous()}, metadata))


def load_prototypes(path: Path, embed_dim: int) -> Prototypes:
    """Load prototypes in a space of width `embed_dim`, E.

    Raises:
        CheckpointError: the file holds none, or they do not fit their names.
    """
    stated, tensors = read_tensors(path)
    if stated.get("format") != FORMAT:
        raise CheckpointError(f"{path} holds no prototypes of classes ({FORMAT})")
    try:
        names = caps.parse_json(stated.get("names", ""))
    except ValueError as error:
        raise CheckpointError(f"{path} states no names of classes: {error}") from error
    vectors = tensors.get("embeddings", torch.zeros(0))
    is_named = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not is_named or vectors.shape != (len(names), embed_dim):
        raise CheckpointError(
            f"{path}: expected a name for each of its prototypes, of width {embed_dim}; found "
            f"{list(vectors.shape)}"
        )
    if not vectors.isfinite().all():
        raise CheckpointError(f"{path} holds NaN or infinite numbers; evaluate the lens again")
    return Prototypes(tuple(names), vectors.float())


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
