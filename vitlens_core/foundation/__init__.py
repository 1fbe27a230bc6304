"""The foundation by one string: `open_clip:…` or `lit:…`.

foundation = load_foundation("open_clip:ViT-L-14/datacomp_xl_s13b_b90k")
foundation.encode_image(images), foundation.encode_text(["a chair"]), foundation.trunk

base.py       Foundation, the interface    settings.py  those of `lit`, checked without torch
info.py       what `foundation.json` states
clip.py       open_clip's models
lit.py        two locked towers; lit_files.py, packaged.py  the files that a spec names
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from vitlens_core.errors import ConfigError

if TYPE_CHECKING:
    from vitlens_core.foundation import base

__all__ = ["KINDS", "check_foundation", "load_foundation"]


class _Module(Protocol):
    """What the module of a kind offers."""

    def parse(self, spec: str) -> object: ...
    def load(self, spec: str, **sizes: int) -> base.Foundation: ...


@dataclass(frozen=True)
class Kind:
    """A kind of foundation: how people write its spec, and the module that opens it."""

    form: str
    module: str

    def code(self) -> _Module:
        """Imported when it is needed: timm and open_clip take seconds."""
        return cast(_Module, importlib.import_module(f"{__name__}.{self.module}"))


# A further kind is a module with `parse` and `load`, and its line here.
KINDS = {
    "open_clip": Kind("open_clip:<model>/<tag or checkpoint path>", "clip"),
    "lit": Kind("lit:<timm model>.<tag or path>+<sentence encoder or folder>", "lit_files"),
}


def check_foundation(spec: str) -> None:
    """See that `spec` names something that exists, in a second and without loading it.

    Raises:
        ConfigError: an unknown kind, model, tag or file; the message names the choices.
    """
    _kind(spec).code().parse(spec)


def load_foundation(
    spec: str, embed_dim: int | None = None, image_size_px: int | None = None
) -> base.Foundation:
    """The frozen foundation `spec` names, on the CPU, in evaluation mode.

    Args:
        embed_dim, image_size_px: width of the space and side of the images, for `lit` only
            (an open_clip model brings its own). A `lit` foundation must still be fitted.

    Raises:
        ConfigError: see `check_foundation`; weights that cannot be downloaded; or sizes
            given for an open_clip model.
    """
    sizes = {"embed_dim": embed_dim, "image_size_px": image_size_px}
    given = {name: size for name, size in sizes.items() if size is not None}
    return _kind(spec).code().load(spec, **given).freeze()


def _kind(spec: str) -> Kind:
    name = spec.partition(":")[0]
    if name not in KINDS:
        choices = "; ".join(kind.form for kind in KINDS.values())
        raise ConfigError(f"unknown foundation {spec!r}; expected one of: {choices}")
    return KINDS[name]
