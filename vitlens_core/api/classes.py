"""classes: what stands for a class in a model's space.

Axes: K classes, E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from vitlens_core import modalities
from vitlens_core.captions import class_prompts
from vitlens_core.errors import ConfigError

if TYPE_CHECKING:
    from vitlens_core.api.model import Model


def knows_classes(model: Model) -> bool:
    """Whether words, or prototypes of training pictures, stand for classes."""
    return "text" in model.modalities or model.prototypes is not None


@torch.inference_mode()
def class_embeddings(model: Model, names: Sequence[str], modality: str) -> Tensor:
    """Embed classes: [K, E], unit norm, fp32.

    Words are the mean over the modality's prompts (CLIP); a foundation without words has
    prototypes of the classes that a lens's training samples had.

    Raises:
        ConfigError: there are neither words nor a prototype for a class.
    """
    if "text" not in model.modalities:
        if model.prototypes is None:
            raise ConfigError(
                "this model has no words, and no prototypes of classes: its foundation has no text "
                "tower, or text was not loaded. Name a question model, or a lens that was "
                "evaluated, which has prototypes beside it"
            )
        return model.prototypes.of(names)
    templates = modalities.load(modality).templates
    prompts = [model.encode({"text": class_prompts(name, templates)})["text"] for name in names]
    return F.normalize(torch.stack([of_class.mean(dim=0) for of_class in prompts]), dim=-1)
