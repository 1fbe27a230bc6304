"""token_loss: the auxiliary loss of a lens's tokens against those of the rendered image itself.

A question model reads the trunk's tokens, of which the losses of embeddings see the pooled one
alone. This one compares each token at the readout, normed, with the token of the image at its
place: 1 − cosine, as BEiT v2 (arXiv 2208.06366) distils tokens. It needs as many of them as the
image has patches.

Axes: B rows of a worker, P tokens before the patches (CLS), T patches or latents, W width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from pipelines.lens.token_counts import in_clips
from vitlens_core.errors import ConfigError
from vitlens_core.models.tower import Tower
from vitlens_core.models.trunk import Trunk


def token_loss(tokens: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over rows and tokens of 1 − cosine; both are [B, P+T, W].

    No row depends on another, so that the mean over parts of a batch is that of the whole.
    """
    return (1 - F.cosine_similarity(tokens, targets, dim=-1)).mean()


def check_tokens(tower: Tower, own: Trunk) -> None:
    """Raise ConfigError unless a tower's tokens can be compared with an image's, one by one.

    Args:
        own: the foundation's trunk, through which the images went.
    """
    if tower.in_clips:
        raise in_clips()
    found, expected = tower.trunk, own
    if (found.input_tokens, found.width) != (expected.input_tokens, expected.width):
        raise ConfigError(
            f"lens.train.token_weight: the lens gives {found.input_tokens} tokens of width "
            f"{found.width}, an image {expected.input_tokens} of {expected.width}; set "
            f"lens.lens.latents to {expected.input_tokens}, or token_weight to 0"
        )
