"""ready: takes over embeddings that a data set brought, if they are those of the foundation.

Axes: V views, C captions, E embedding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.shards.sample import SampleInfo
from pipelines.store.shards import Sample, decode_array, ready_file
from vitlens_core.errors import ConfigError
from vitlens_core.foundation.base import Foundation
from vitlens_core.foundation.info import FoundationInfo

# Embeddings of another CLIP have cosines near 0; those of one text and of the mean of its prompts,
# as data sets store them, over .8.
_SAME_FROM = 0.5
_COMPARED = 8  # captions that the foundation embeds itself, to compare


class ReadyEmbeddings:
    """Checks and decodes what samples bring; the first one with captions is compared."""

    def __init__(self, foundation: Foundation, info: FoundationInfo) -> None:
        self._foundation = foundation
        self._info = info
        self._is_compared = False

    def of(self, sample: Sample, told: SampleInfo) -> tuple[Tensor, Tensor] | None:
        """Return a sample's embeddings of images [V, E] and captions [C, E], unit norm.

        Raises:
            ConfigError: they come from another CLIP than the foundation.
        """
        if told.embeddings_of is None:
            return None
        if told.embeddings_of not in (self._info.spec, self._info.digest):
            raise ConfigError(
                f"the data set brings embeddings of {told.embeddings_of}, the foundation is "
                f"{self._info.spec} (digest {self._info.digest}): set foundation.spec to the "
                "former, or state the foundation's digest as source.clip if it is the same CLIP"
            )
        images, texts = (self._decoded(sample, kind) for kind in ("image", "text"))
        if len(texts) and not self._is_compared:
            self._compare(texts, told)
        return images, texts

    def _decoded(self, sample: Sample, kind: str) -> Tensor:
        width = self._foundation.embed_dim
        data = sample.get(ready_file(kind))
        if data is None:
            return torch.zeros(0, width)
        found = torch.from_numpy(decode_array(data).copy()).float()
        if found.shape[1] != width:
            raise ConfigError(
                f"sample {sample['__key__']} brings embeddings of width {found.shape[1]}, the "
                f"foundation {self._info.spec} has {width}"
            )
        return F.normalize(found, dim=-1)

    def _compare(self, texts: Tensor, told: SampleInfo) -> None:
        captions = list(told.captions[:_COMPARED])
        own = self._foundation.encode_text(captions).cpu()
        cosine = (own * texts[: len(captions)]).sum(-1).mean().item()
        if cosine < _SAME_FROM:
            raise ConfigError(
                f"the data set says its embeddings are of {told.embeddings_of}, but its captions "
                f"have a cosine of {cosine:.2f} with the foundation's own embeddings of them; "
                f"expected {_SAME_FROM} and more. Its source.clip is wrong, or its captions are"
            )
        self._is_compared = True
