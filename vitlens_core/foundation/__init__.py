"""Opens a foundation by one string: `open_clip:…`, `lit:…` or `hf:…`.

foundation = load_foundation("open_clip:ViT-L-14/datacomp_xl_s13b_b90k")
foundation.encode_image(images), foundation.encode_text(["a chair"]), foundation.trunk

base.py       Foundation, the interface
info.py       what `foundation.json` states
clip.py       open_clip's models
lit.py        two locked towers with fitted projections
lit_spec.py   checks a `lit:` spec without timm
lit_files.py  packaged.py   the files that a `lit:` spec names
hf.py         towers of Hugging Face models
hf_files.py   the files that an `hf:` spec names
settings.py   settings of `lit`, checked without torch
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from vitlens_core.errors import ConfigError

if TYPE_CHECKING:
    from vitlens_core.foundation import base

__all__ = [
    "KINDS",
    "brings_own_sizes",
    "check_foundation",
    "has_text_tower",
    "image_patches",
    "load_foundation",
]


class _Module(Protocol):
    """The functions that the module of a kind has."""

    def parse(self, spec: str) -> object: ...
    def load(self, spec: str, **sizes: int) -> base.Foundation: ...
    def patches(self, spec: str, image_size_px: int | None) -> int | None: ...


@runtime_checkable
class _PerhapsWithoutText(Protocol):
    """What the module of a kind has besides, if some of its foundations have no text tower."""

    def has_text(self, spec: str) -> bool: ...


@dataclass(frozen=True)
class Kind:
    """A kind of foundation.

    Modules are imported when they are needed: timm and open_clip take seconds.

    Attributes:
        form: the form of its spec.
        module: name of the module that opens it.
        parser: name of a module that only checks a spec, if it has one.
        is_sized: whether its sizes are settings; a published model brings its own.
    """

    form: str
    module: str
    parser: str = ""
    is_sized: bool = False

    def parse(self, spec: str) -> object:
        return self._code(self.parser or self.module).parse(spec)

    def has_text(self, spec: str) -> bool:
        code = self._code(self.parser or self.module)
        return code.has_text(spec) if isinstance(code, _PerhapsWithoutText) else True

    def patches(self, spec: str, image_size_px: int | None) -> int | None:
        return self._code(self.parser or self.module).patches(spec, image_size_px)

    def load(self, spec: str, **sizes: int) -> base.Foundation:
        return self._code(self.module).load(spec, **sizes)

    def _code(self, module: str) -> _Module:
        return cast(_Module, importlib.import_module(f"{__name__}.{module}"))


# A further kind is a module with `parse`, `patches` and `load`, and its line here.
KINDS = {
    "open_clip": Kind("open_clip:<model>/<tag or checkpoint path>", "clip"),
    "lit": Kind(
        "lit:<timm model>.<tag or path>+<sentence encoder or folder>",
        "lit_files",
        "lit_spec",
        is_sized=True,
    ),
    "hf": Kind("hf:<model or folder>#<vision or both>", "hf"),
}


def check_foundation(spec: str) -> None:
    """Check that `spec` names something that exists, within seconds and without loading it.

    Raises:
        ConfigError: the kind, model, tag or file is unknown; the message names the choices.
    """
    _kind(spec).parse(spec)


def brings_own_sizes(spec: str) -> bool:
    """Whether a spec is of a kind whose models have their own sizes; nothing is read for it."""
    kind = KINDS.get(spec.partition(":")[0])
    return kind is not None and not kind.is_sized


def has_text_tower(spec: str) -> bool:
    """Whether a foundation has words; at most a config is read. Errors: `check_foundation`."""
    return _kind(spec).has_text(spec)


def image_patches(spec: str, image_size_px: int | None = None) -> int | None:
    """Return the number of patches of an image, without loading or downloading anything.

    Args:
        image_size_px: side of the images, for `lit` only.

    Returns:
        None where neither the spec nor a config on this machine tells it.

    Raises:
        ConfigError: as `check_foundation`.
    """
    return _kind(spec).patches(spec, image_size_px)


def load_foundation(
    spec: str, embed_dim: int | None = None, image_size_px: int | None = None
) -> base.Foundation:
    """Load the frozen foundation that `spec` names, on the CPU, in evaluation mode.

    Args:
        embed_dim, image_size_px: width of the space and side of the images, for `lit` only
            (other models have their own). A `lit` foundation is still to be fitted.

    Raises:
        ConfigError: as `check_foundation`; the weights cannot be downloaded; or sizes are given
            for a model that brings its own.
    """
    sizes = {"embed_dim": embed_dim, "image_size_px": image_size_px}
    # Left out unless given: `clip` and `hf` refuse sizes, and `lit_files` has defaults.
    stated_sizes = {name: size for name, size in sizes.items() if size is not None}
    return _kind(spec).load(spec, **stated_sizes).freeze()


def _kind(spec: str) -> Kind:
    name = spec.partition(":")[0]
    if name not in KINDS:
        choices = "; ".join(kind.form for kind in KINDS.values())
        raise ConfigError(f"unknown foundation {spec!r}; expected one of: {choices}")
    return KINDS[name]
