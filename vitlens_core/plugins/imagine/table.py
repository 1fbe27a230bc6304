"""Which decoder fits which foundation; nothing is loaded to tell.

A decoder draws what the image encoder that it was trained with would have seen: any other CLIP of
the same width gives noise, without an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vitlens_core.caps import parse_json
from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.foundation import load_foundation
from vitlens_core.foundation.hf_files import ModelFiles
from vitlens_core.models.trunk import Trunk
from vitlens_core.plugins.fit import check_trunk

_VIT_H = "open_clip:ViT-H-14/laion2b_s32b_b79k"
_VIT_L = "open_clip:ViT-L-14/openai"
_BIG_G = "open_clip:ViT-bigG-14/laion2b_s39b_b160k"


@dataclass(frozen=True)
class Row:
    """A published decoder.

    Attributes:
        decoder: its name on the hub.
        kind: the pipeline: `unclip`, `kandinsky` or `ip-adapter`.
        foundations: specs of the foundation it was trained with.
        embed_dim: width of that foundation's embeddings.
    """

    decoder: str
    kind: str
    foundations: tuple[str, ...]
    embed_dim: int


TABLE = (
    Row("stabilityai/stable-diffusion-2-1-unclip", "unclip", (_VIT_H,), 1024),
    Row("stabilityai/stable-diffusion-2-1-unclip-small", "unclip", (_VIT_L,), 768),
    Row("kandinsky-community/kandinsky-2-2-decoder", "kandinsky", (_BIG_G,), 1280),
    Row("h94/IP-Adapter", "ip-adapter", (_VIT_H,), 1024),
)
KINDS = {
    "StableUnCLIPImg2ImgPipeline": "unclip",
    "KandinskyV22Pipeline": "kandinsky",
    "StableDiffusionPipeline": "ip-adapter",
}


def kind_of(source: str) -> str:
    """Tell the kind of a decoder by its `model_index.json`.

    Raises:
        ConfigError: it is no diffusers pipeline that takes image embeddings.
    """
    for row in TABLE:
        # An IP-Adapter is no pipeline: it is put onto one of Stable Diffusion.
        if row.decoder == source and row.kind != "ip-adapter":
            return row.kind
    index = ModelFiles(source).find("model_index.json")
    if index is None:
        raise ConfigError(f"{source} has no model_index.json: it is no pipeline of diffusers")
    name = parse_json(index.read_bytes()).get("_class_name")
    if name not in KINDS:
        raise ConfigError(
            f"{source} is a {name}, which takes no image embeddings; there are: {', '.join(KINDS)}"
        )
    return KINDS[name]


def check_fit(source: str, spec: str, trunk: Trunk, encoder: str | None) -> None:
    """Check that a foundation is the one that a decoder was trained with.

    Args:
        spec, trunk: of the foundation.
        encoder: what else says which foundation it is: a name in the table (that of an
            IP-Adapter), or the folder of the decoder's image encoder.

    Raises:
        CheckpointError: it is another foundation.
        ConfigError: nothing says which foundation the decoder was trained with.
    """
    row = next((row for row in TABLE if row.decoder in (source, encoder)), None)
    if row is not None and spec in row.foundations:
        return
    is_named = row is not None and row.decoder == encoder
    own = (None if is_named else encoder) or _beside(source)
    if own is None and row is None:
        raise ConfigError(
            f"{source} holds no image encoder, and is not in the table of decoders: name the "
            "encoder that it was trained with (encoder=…)"
        )
    if own is None or not spec.startswith("hf:"):
        expected = " or ".join(row.foundations) if row else f"hf:{own}"
        raise CheckpointError(
            f"{source} was trained with {expected}; the model's foundation is {spec}, whose "
            "embeddings mean nothing to it"
        )
    check_trunk(trunk, load_foundation(f"hf:{own}").trunk, f"the model on {spec}", own)


def _beside(source: str) -> str | None:
    folder = Path(source) / "image_encoder"
    return str(folder) if folder.is_dir() else None


def table_rows() -> list[dict[str, object]]:
    """Return the table as plain values, for documentation."""
    return [vars(row) for row in TABLE]
