"""Makes parameters that belong to no layer: latents, CLS tokens, positions, vocabularies."""

import torch
from torch import nn


def normal_parameter(*shape: int, std: float) -> nn.Parameter:
    """Make a normally distributed parameter, without values on the meta device."""
    values = torch.empty(shape)
    # Drawing normals on the meta device would import torch's compiler: 12 s instead of 0.1 s.
    if not values.is_meta:
        nn.init.normal_(values, std=std)
    return nn.Parameter(values)


def token_embedding(vocab_size: int, width: int) -> nn.Embedding:
    """Build a vocabulary's trainable embedding. [B, T] → [B, T, D]."""
    # .02 is the deviation with which CLIP starts.
    table = normal_parameter(vocab_size, width, std=0.02)
    return nn.Embedding.from_pretrained(table, freeze=False)
