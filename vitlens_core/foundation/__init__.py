"""The foundation by one string: `open_clip:…` or `lit:…`.

foundation = load_foundation("open_clip:ViT-L-14/datacomp_xl_s13b_b90k")
foundation.encode_image(images), foundation.encode_text(["a chair"]), foundation.trunk
"""

from __future__ import annotations

from vitlens_core.errors import ConfigError
from vitlens_core.foundation.base import Foundation
from vitlens_core.foundation.lit import LitFoundation, load_lit

__all__ = ["KINDS", "Foundation", "LitFoundation", "load_foundation"]

KINDS = {
    "open_clip": "open_clip:<model>/<tag or checkpoint path>",
    "lit": "lit:<timm model>.<tag or path>+<sentence encoder or folder>",
}


def load_foundation(
    spec: str, embed_dim: int | None = None, image_size_px: int | None = None
) -> Foundation:
    """The frozen foundation `spec` names, on the CPU, in evaluation mode.

    Args:
        embed_dim, image_size_px: width of the space and side of the images, for `lit` only
            (an open_clip model brings its own). A `lit` foundation must still be fitted.

    Raises:
        ConfigError: an unknown kind, model, tag or file; the message names the choices.
    """
    kind = spec.partition(":")[0]
    if kind == "lit":
        given = {"embed_dim": embed_dim, "image_size_px": image_size_px}
        return load_lit(spec, **{k: v for k, v in given.items() if v is not None}).freeze()
    if kind == "open_clip":
        from vitlens_core.foundation.clip import load_open_clip

        return load_open_clip(spec).freeze()
    raise ConfigError(f"unknown foundation {spec!r}; expected one of: {'; '.join(KINDS.values())}")
