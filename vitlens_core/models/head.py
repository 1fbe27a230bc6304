"""Heads: the step from the trunk's features to the embedding, if a lens trains it.

ViT-Lens keeps the foundation's frozen projection (`frozen`: there is no head). ImageBind gives
every modality a head of its own: a norm, then one linear layer without bias (`linear`), or an
MLP with 768 hidden units (`mlp`), which its ablation found worse.

Axes: B batch, F features of the readout, E embedding.
Source: ImageBind (arXiv 2305.05665) §3.2, appendix B and the ablation of heads in §5.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from vitlens_core.network_settings import HeadKind

MLP_WIDTH = 768
NORM_EPS = 1e-6


def build_head(kind: HeadKind, features: int, embed_dim: int) -> nn.Module:
    """Build a head [B, F] → [B, E], not normalised, with random weights; `frozen` does nothing."""
    if kind == "frozen":
        return nn.Identity()
    # Named layers: their names are those of the tensors in a lens checkpoint.
    layers: list[tuple[str, nn.Module]] = [("norm", nn.LayerNorm(features, eps=NORM_EPS))]
    if kind == "mlp":
        layers += [("hidden", nn.Linear(features, MLP_WIDTH)), ("gelu", nn.GELU())]
        features = MLP_WIDTH
    layers.append(("projection", nn.Linear(features, embed_dim, bias=False)))
    return nn.Sequential(OrderedDict(layers))
