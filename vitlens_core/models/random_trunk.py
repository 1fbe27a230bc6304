"""A trunk of random weights: the control that tells what the pretrained ones are worth."""

from __future__ import annotations

import torch
from torch import nn

from vitlens_core.models.trunk import Trunk

# Initialisation of ViTs (arXiv 2010.11929; timm and open_clip): truncated normal, biases of 0.
_STD = 0.02


def randomise(trunk: Trunk, seed: int) -> None:
    """Replace the weights of a trunk's blocks, norms, CLS token and positions, in place.

    The readout's projection stays: it is the way into the foundation's space. Equal seeds give
    equal weights, so that a checkpoint need not hold those that stay frozen.
    """
    generator = torch.Generator().manual_seed(seed)
    shown = [*trunk.blocks, trunk.norm_pre, trunk.readout]
    with torch.no_grad():
        for module in (inner for part in shown for inner in part.modules()):
            _reset(module, generator)
        for table in (trunk.cls_token, trunk.positions):
            if table is not None:  # SigLIP has no CLS token
                _draw(table, generator)


def _reset(module: nn.Module, generator: torch.Generator) -> None:
    """Reset the parameters that a module has itself."""
    if isinstance(module, nn.LayerNorm):
        module.reset_parameters()
        return
    if isinstance(module, Trunk) or hasattr(module, "projection"):
        return
    for name, parameter in module.named_parameters(recurse=False):
        if parameter.ndim >= 2:
            _draw(parameter, generator)
        elif name.endswith("bias"):
            parameter.zero_()
        else:  # the scale of a layer: 1 lets every layer count
            parameter.fill_(1.0)


def _draw(parameter: nn.Parameter, generator: torch.Generator) -> None:
    drawn = torch.empty(parameter.shape)
    nn.init.trunc_normal_(drawn, std=_STD, generator=generator)
    parameter.copy_(drawn)
