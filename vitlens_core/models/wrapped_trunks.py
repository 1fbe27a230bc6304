"""Trunks of the vision transformers that open_clip and timm publish.

`open_clip_trunk` takes the image tower of a CLIP: CLIP's own ViT, SigLIP's and EVA's. `timm_trunk`
takes a ViT or EVA of timm, and `load_trunk` opens one by name, so that a lens can have another
trunk than its foundation's.

Axes: B batch, T tokens, W width, E embedding.
Source: CLIP (arXiv 2103.00020), SigLIP (2303.15343), EVA-CLIP (2303.15389).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from safetensors import SafetensorError
from torch import Tensor, nn

from vitlens_core.errors import ConfigError
from vitlens_core.models.trunk import ClsFeatures, ClsReadout, ProjectedReadout, Readout, Trunk

SCHEME = "timm:"


class PooledFeatures(Readout):
    """The last block's tokens, normalised and pooled: by attention (SigLIP), or their mean."""

    taps = (-1,)

    def __init__(self, norm: nn.Module, pool: nn.Module | None, norm_after: nn.Module) -> None:
        super().__init__()
        self.norm, self.pool, self.norm_after = norm, pool, norm_after

    def forward(self, hidden: Sequence[Tensor]) -> Tensor:
        """[B, T, W] → [B, W]."""
        x = self.norm(hidden[0])
        return self.norm_after(x.mean(1) if self.pool is None else self.pool(x))


class HeadReadout(ProjectedReadout):
    """Features of a timm ViT and its own head: a linear layer, or nothing."""

    def __init__(self, features: Readout, head: nn.Module, width: int) -> None:
        super().__init__()
        self.features, self.head, self.width = features, head, width
        self.taps = features.taps

    def forward(self, hidden: Sequence[Tensor]) -> Tensor:
        """[B, T, W] → [B, E]."""
        return self.head(self.features(hidden))

    @property
    def unprojected(self) -> Readout:
        return self.features

    @property
    def sizes(self) -> tuple[int, int]:
        embed_dim = self.head.out_features if isinstance(self.head, nn.Linear) else self.width
        return self.width, embed_dim


def open_clip_trunk(visual: nn.Module) -> Trunk:
    """Wrap an open_clip vision tower that is a ViT.

    Raises:
        ConfigError: it is a ResNet or a ConvNeXt, or its readout is not known.
    """
    # Imported here: open_clip takes seconds, and a `lit` foundation does not need it.
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    if isinstance(visual, TimmModel) and not len(visual.head):
        return timm_trunk(visual.trunk)
    is_clip_vit = isinstance(visual, VisionTransformer) and visual.proj is not None
    if not is_clip_vit or visual.attn_pool is not None or visual.pool_type != "tok":
        raise ConfigError(
            f"this open_clip vision tower ({type(visual).__name__}) is not a ViT read out at "
            "its CLS token or by SigLIP's pooling; use a model such as ViT-B-16, ViT-L-14, "
            "ViT-bigG-14, ViT-B-16-SigLIP or EVA02-L-14"
        )
    return Trunk(
        visual.class_embedding,
        visual.positional_embedding,
        visual.ln_pre,
        visual.transformer.resblocks,
        ClsReadout(visual.ln_post, visual.proj),
        visual.conv1.weight,
    )


def timm_trunk(vit: Any, readout: Readout | None = None) -> Trunk:
    """Wrap a timm `VisionTransformer` or `Eva` with a learned positional table.

    Args:
        readout: what reads its blocks; by default its own pooling and head.

    Raises:
        ConfigError: it has no such table, or further tokens (registers), or is no ViT.
    """
    has_table = getattr(vit, "pos_embed", None) is not None and not vit.no_embed_class
    prefix = getattr(vit, "num_prefix_tokens", 0)
    if not has_table or prefix > 1 or getattr(vit, "rope_mixed", False):
        raise ConfigError(
            f"timm model {type(vit).__name__} has no learned positional table, or further tokens "
            "beside CLS; use a vit_* or eva* model without registers (CLIP, SigLIP, DINO, DINOv2, "
            "DeiT, AugReg, EVA)"
        )
    return Trunk(
        vit.cls_token.reshape(-1) if prefix else None,
        vit.pos_embed[0],
        vit.norm_pre,
        vit.blocks,
        readout or _own_readout(vit, has_cls=bool(prefix)),
        vit.patch_embed.proj.weight,
        getattr(vit, "rope", None),
    )


def _own_readout(vit: Any, *, has_cls: bool) -> HeadReadout:
    pool = getattr(vit, "attn_pool", None)
    features: Readout
    if pool is None and has_cls:
        features = ClsFeatures(nn.Sequential(vit.norm, vit.fc_norm))
    else:
        features = PooledFeatures(vit.norm, pool, vit.fc_norm)
    return HeadReadout(features, vit.head, vit.embed_dim)


def check_trunk(spec: str) -> tuple[str, str]:
    """Return the model and the tag or file of `timm:<model>.<tag or file>`, without loading it.

    Raises:
        ConfigError: another form, or a model or tag that timm does not have.
    """
    # Imported here: timm takes seconds, and most towers stand on their foundation's trunk.
    import timm

    model, dot, tag = spec.removeprefix(SCHEME).partition(".")
    if not spec.startswith(SCHEME) or not dot or not tag or not timm.is_model(model):
        raise ConfigError(
            f"lens.trunk.model {spec!r}: expected {SCHEME}<model>.<tag or file> with a model of "
            "timm, such as timm:eva_giant_patch14_560.m30m_ft_in22k_in1k"
        )
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{model}.*")]
    if tag not in tags and not Path(tag).is_file():
        raise ConfigError(
            f"lens.trunk.model {spec!r}: {tag!r} is neither a file nor a tag of timm's {model}; "
            f"its tags: {', '.join(tags) or 'none'}"
        )
    return model, tag


def load_trunk(spec: str, *, weights: bool = True) -> Trunk:
    """Load the trunk that `timm:<model>.<tag or file>` names.

    Args:
        weights: whether its weights are read; without them a trunk shows its sizes only.

    Raises:
        ConfigError: as `check_trunk`; or the weights can be neither found nor downloaded.
    """
    import timm

    model, tag = check_trunk(spec)
    if not weights:
        return timm_trunk(timm.create_model(model, num_classes=0))
    try:
        if Path(tag).is_file():
            vit = timm.create_model(model, num_classes=0, checkpoint_path=tag)
        else:
            vit = timm.create_model(f"{model}.{tag}", pretrained=True, num_classes=0)
    except (OSError, RuntimeError, EOFError, UnpicklingError, SafetensorError) as error:
        # Cut to 300 characters: torch lists every tensor that does not fit.
        raise ConfigError(
            f"lens.trunk.model {spec!r}: its weights could not be loaded ({error!s:.300}). Without "
            "a connection, name a file: timm:<model>./path/to/weights.safetensors"
        ) from error
    return timm_trunk(vit)
