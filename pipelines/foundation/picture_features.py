"""picture_features: keeps image features of a `lit` foundation in the store, by picture.

Writes    `<store>/features/<towers>/<input>/<shard>.tar`: of one shard, the SHA-256 of its pictures
          [n, 32] and its features [n, Fi]. `towers` are the frozen weights, the image size and the
          background; `input` is what the shards were made of, so that two workflows with the same
          renders meet in one file.
Promises  features are those of the very picture, whatever file they are found in. A file that is
          missing or damaged costs time alone: its pictures are encoded again.

Axes: V views, Fi width of image features.
"""

from __future__ import annotations

import hashlib
import logging

import numpy as np
import torch
from torch import Tensor
from upath import UPath

from pipelines.store.artifacts import FEATURES, Artifact, digest
from pipelines.store.shards import (
    Sample,
    decode_array,
    encode_array,
    read_shard,
    read_sums,
    view_names,
    write_shard,
)
from vitlens_core.errors import IntegrityError
from vitlens_core.foundation.lit import LitFoundation

logger = logging.getLogger(__name__)
_KEY, _PICTURES, _FEATURES = "pictures", "sha256.npy", "features.npy"


class PictureFeatures:
    """The features of all shards of an artifact, for one pair of towers."""

    def __init__(self, shards: Artifact, foundation: LitFoundation, background: int) -> None:
        """`background` is the grey level that pictures with alpha are put over."""
        towers = {
            "weights": foundation.image_digest(),
            "image_size_px": foundation.image_size_px,
            "background": background,
        }
        made_of = digest(shards.manifest.inputs)
        self.folder = shards.store / FEATURES / digest(towers)[:16] / made_of[:16]

    def of_shard(self, name: str) -> ShardFeatures:
        return ShardFeatures(self.folder / f"{name}.tar")


class ShardFeatures:
    """The features of the pictures of one shard; `save` keeps those that were added."""

    def __init__(self, path: UPath) -> None:
        self._path = path
        self._known = _read(path)
        self._has_new = False

    def find(self, sample: Sample) -> Tensor | None:
        """Return the features of a sample's views [V, Fi], or None if one of them is not known."""
        rows = [self._known.get(picture) for picture in _pictures(sample)]
        found = [row for row in rows if row is not None]
        return torch.from_numpy(np.stack(found)) if rows and len(found) == len(rows) else None

    def add(self, sample: Sample, features: Tensor) -> None:
        """Keep the features [V, Fi] of a sample's views."""
        rows = features.cpu().numpy()
        self._known |= zip(_pictures(sample), rows, strict=True)
        self._has_new = True

    def save(self) -> None:
        """Write all features, if some are new.

        Of two workers that save at once one is kept, which costs time alone.
        """
        if not self._has_new:
            return
        pictures = np.frombuffer(b"".join(self._known), np.uint8).reshape(len(self._known), -1)
        content = {
            "__key__": _KEY,
            _PICTURES: encode_array(pictures),
            _FEATURES: encode_array(np.stack(list(self._known.values()))),
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_shard(self._path, [content])
        self._has_new = False


def _pictures(sample: Sample) -> list[bytes]:
    return [hashlib.sha256(sample[name]).digest() for name in view_names(sample)]


def _read(path: UPath) -> dict[bytes, np.ndarray]:
    if not path.exists():
        return {}
    try:
        [content] = read_shard(path, read_sums(path))
    except (IntegrityError, ValueError) as error:
        logger.warning("%s: %s; its pictures are encoded again", path, error)
        return {}
    pictures = map(bytes, decode_array(content[_PICTURES]))
    return dict(zip(pictures, decode_array(content[_FEATURES]), strict=True))
