"""objects: the labelled objects of a split, with the foundation's embeddings of their views.

Axes: V views, E embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.shards.sample import SampleInfo
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import targets_file
from pipelines.targets.stored import decode_targets
from vitlens_core.captions import label_phrase
from vitlens_core.errors import ConfigError

_FILE = targets_file("image")


@dataclass(frozen=True)
class Objects:
    """Labelled objects that have views.

    Attributes:
        names: of each one's class, in words.
        views: of each the unit-norm embeddings [V, E].
    """

    names: list[str]
    views: list[Tensor]

    @property
    def classes(self) -> list[str]:
        """Every name once, sorted."""
        return sorted(set(self.names))

    def means(self) -> Tensor:
        """Return the unit-norm mean of each object's views, [N, E]."""
        return F.normalize(torch.stack([of_one.mean(dim=0) for of_one in self.views]), dim=-1)

    def first_views(self) -> Tensor:
        """Return each object's first view, [N, E]."""
        return torch.stack([of_one[0] for of_one in self.views])


def read_objects(targets: Artifact, split: str) -> Objects:
    """Read the objects of a split that have a label and views.

    Raises:
        ConfigError: there are none.
    """
    names: list[str] = []
    views: list[Tensor] = []
    for path in targets.shards(split):
        for sample in targets.read(path, only=("json", _FILE)):
            label, found = SampleInfo.of(sample).label, decode_targets(sample[_FILE])
            if label and len(found):
                names.append(label_phrase(label))
                views.append(F.normalize(torch.from_numpy(found), dim=-1))
    if not names:
        raise ConfigError(
            f"no object of the {split!r} split has a label and images: a connector is trained and "
            "chosen on the foundation's embeddings of images, with class names as words"
        )
    return Objects(names, views)
