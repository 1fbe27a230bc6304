"""The foundation by one string: `open_clip:…` or `lit:…`.

foundation = load_foundation("open_clip:ViT-L-14/datacomp_xl_s13b_b90k")
foundation.encode_image(images), foundation.encode_text(["a chair"]), foundation.trunk

base.py       Foundation, the interface    settings.py  those of `lit`, checked without torch
info.py       what `foundation.json` states
clip.py       open_clip's models
lit.py        two locked towers; lit_files.py, packaged.py  the files that a spec names
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitlens_core.errors import ConfigError

if TYPE_CHECKING:
    from vitlens_core.foundation import base

__all__ = ["KINDS", "check_foundation", "load_foundation"]

KINDS = {
    "open_clip": "open_clip:<model>/<tag or checkpoint path>",
    "lit": "lit:<timm model>.<tag or path>+<sentence encoder or folder>",
}


def check_foundation(spec: str) -> None:
    """See that `spec` names something that exists, in a second and without loading it.

    Raises:
        ConfigError: an unknown kind, model, tag or file; the message names the choices.
    """
    # Late, here and below: timm and open_clip take seconds to import.
    if _kind(spec) == "lit":
        from vitlens_core.foundation.lit_files import parse_lit

        parse_lit(spec)
        return
    from vitlens_core.foundation.clip import parse_open_clip

    parse_open_clip(spec)


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
    if _kind(spec) == "lit":
        from vitlens_core.foundation.lit_files import load_lit

        return load_lit(spec, **given).freeze()
    if given:
        raise ConfigError(f"{spec} brings its own {' and '.join(given)}: leave them unset")
    from vitlens_core.foundation.clip import load_open_clip

    return load_open_clip(spec).freeze()


def _kind(spec: str) -> str:
    kind = spec.partition(":")[0]
    if kind not in KINDS:
        choices = "; ".join(KINDS.values())
        raise ConfigError(f"unknown foundation {spec!r}; expected one of: {choices}")
    return kind
