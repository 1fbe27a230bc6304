"""Sizes: builds trunks and towers on the meta device, which takes no memory and reads no weights.

Initial values are not drawn either: drawing normals on the meta device imports torch's compiler,
which takes longer than all the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from vitlens_core.models.tower import Tower, build_tower
from vitlens_core.models.tower_settings import TowerSettings
from vitlens_core.models.trunk import Readout, Trunk
from vitlens_core.models.wrapped_trunks import open_clip_trunk, timm_trunk

_DRAWS = {"normal_", "uniform_", "trunc_normal_", "erfinv_", "clamp_", "mul_", "add_"}


class _Undrawn(TorchFunctionMode):
    """Leaves every tensor on the meta device as it is where values would be drawn."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _DRAWS:
            drawn = args[0] if args else kwargs["tensor"]  # `nn.init` passes it by name
            if drawn.is_meta:
                return drawn
        return func(*args, **kwargs)


@contextmanager
def only_sizes() -> Generator[None]:
    """Let modules that are built in the block have shapes, and no values."""
    with torch.device("meta"), _Undrawn():
        yield


def open_clip_sizes(model: str) -> Trunk:
    """Build the image trunk of a model of open_clip, without values (`ConfigError`: no ViT)."""
    # Imported here: open_clip takes seconds.
    import open_clip
    from open_clip.model import _build_vision_tower

    config = open_clip.get_model_config(model)
    assert config is not None, "the spec was checked"
    with only_sizes():
        # `create_model` would build the text tower too, and move the values of both.
        quick_gelu = config.get("quick_gelu", False)
        visual = _build_vision_tower(config["embed_dim"], config["vision_cfg"], quick_gelu)
        return open_clip_trunk(visual)


def timm_sizes(model: str, image_size_px: int, readout: Callable[[Any], Readout]) -> Trunk:
    """Build the trunk of a timm ViT, without values.

    Args:
        readout: builds what reads the ViT's blocks.
    """
    # Imported here: timm takes seconds.
    import timm

    with only_sizes():
        vit = timm.create_model(model, num_classes=0, img_size=image_size_px)
        return timm_trunk(vit, readout(vit))


def tower_sizes(settings: TowerSettings, trunk: Trunk) -> Tower:
    """Build a tower without values on a trunk without values."""
    with only_sizes():
        return build_tower(settings, trunk, pretrained=False)
