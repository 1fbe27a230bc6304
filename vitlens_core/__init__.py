"""The science of vitlens: rendering and sampling, modalities, towers, lens, foundation.

    sandbox/      child processes without rights, for untrusted files
    rendering/    GLB → views, metric depth, surface points
    readers/      files → raw arrays
    modalities/   one file per modality: preparation, augmentation, tokenizer
    signals/      what modalities share: checks, resampling, pictures, spectrograms
    models/       tokenizers, lenses, trunk, tower; the published towers
    foundation/   the frozen dual encoder that defines the embedding space
    api/          load, encode, compare, fuse
    captions.py   losses/   metrics.py   checkpoint.py   export.py   precision.py   errors.py

The package installs without Ray, MLflow and Dagster, and imports none of them.

    model = vitlens_core.load("lens.safetensors")
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vitlens_core.api import Calibrated, Model, load

__all__ = ["Calibrated", "Model", "load"]


def __getattr__(name: str) -> object:
    """Import the API when one of its names is first used: torch takes seconds."""
    if name in __all__:
        from vitlens_core import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
