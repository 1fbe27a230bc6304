"""The science of vitlens: rendering and sampling, modalities, towers, lens, foundation.

    sandbox/      child processes without rights, for untrusted files
    rendering/    GLB → views, metric depth, surface points
    readers/      files → raw arrays
    modalities/   one file per modality: preparation, augmentation, tokenizer
    signals/      what modalities share: checks, resampling, pictures, spectrograms
    models/       tokenizers, lenses, trunk, tower; the published towers
    foundation/   the frozen dual encoder that defines the embedding space
    plugins/      lenses inside other models: ask, detect, imagine
    api/          load, encode, compare, fuse
    sources.py    a source → its checkpoint file; lens_header.py: what the lens in it is
    captions.py   losses/   metrics.py   checkpoint.py   export.py   precision.py   errors.py

The package installs without Ray, MLflow and Dagster, and imports none of them.

    model = vitlens_core.load("lens.safetensors")
"""

import importlib
import pkgutil
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vitlens_core.api import Calibrated, Model, load

__all__ = ["Calibrated", "Model", "load"]

_MODULES = frozenset(module.name for module in pkgutil.iter_modules(__path__))


def __getattr__(name: str) -> object:
    """Import the API and the modules when their names are first used: torch takes seconds."""
    if name in __all__:
        return getattr(importlib.import_module(f"{__name__}.api"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name == "__version__":
        return _version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES, "__version__"])


def _version() -> str:
    try:
        return metadata.version("vitlens")
    except metadata.PackageNotFoundError:  # a copy of this package inside a registered model
        return "not installed"
