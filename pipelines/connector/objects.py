"""objects: the labelled objects of a split, with the foundation's embeddings of their views and
captions.

Axes: V views, C captions, E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.shards.sample import SampleInfo
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import Sample, targets_file
from pipelines.targets.stored import decode_targets
from vitlens_core.captions import label_phrase
from vitlens_core.errors import ConfigError

_IMAGE, _TEXT = targets_file("image"), targets_file("text")


@dataclass(frozen=True)
class Objects:
    """Labelled objects that have views.

    Attributes:
        names: of each one's class, in words.
        views: of each the unit-norm embeddings [V, E].
        captions: of each the unit-norm embeddings [C, E]; none where the foundation has no words.
    """

    names: list[str]
    views: list[Tensor]
    captions: list[Tensor] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        """Every name once, sorted."""
        return sorted(set(self.names))

    def means(self) -> Tensor:
        """Return the unit-norm mean of each object's views, [N, E]."""
        return _means(self.views)

    def of_captions(self) -> tuple[list[str], Tensor]:
        """Return names and unit-norm mean captions, [M, E], of the objects that have any."""
        pairs = zip(self.names, self.captions, strict=bool(self.captions))
        having = [(name, own) for name, own in pairs if len(own)]
        if not having:
            return [], torch.empty(0, self.views[0].shape[-1])
        return [name for name, _ in having], _means([own for _, own in having])

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
    captions: list[Tensor] = []
    for path in targets.shards(split):
        for sample in targets.read(path, only=("json", _IMAGE, _TEXT)):
            label, found = SampleInfo.of(sample).label, _unit(sample, _IMAGE)
            if label and len(found):
                names.append(label_phrase(label))
                views.append(found)
                captions.append(_unit(sample, _TEXT))
    if not names:
        raise ConfigError(
            f"no object of the {split!r} split has a label and images: a connector is trained and "
            "chosen on the foundation's embeddings of images, with class names as words"
        )
    return Objects(names, views, captions)


def _means(of_each: Sequence[Tensor]) -> Tensor:
    """Return the unit-norm mean of each object's embeddings, [N, E]."""
    return F.normalize(torch.stack([own.mean(dim=0) for own in of_each]), dim=-1)


def _unit(sample: Sample, file: str) -> Tensor:
    """Return the unit-norm targets of a sample; a file that it lacks holds none."""
    if file not in sample:
        return torch.empty(0, 0)
    return F.normalize(torch.from_numpy(decode_targets(sample[file])).float(), dim=-1)
