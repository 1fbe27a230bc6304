"""Tokenizers: one modality's raw signal in, tokens [B, T, D] out.

Parameter names are the published ones, so that published tokenizers load strictly.
"""

from vitlens_core.models.tokenizers.patches import (
    PatchTokenizer,
    SeriesTokenizer,
    SpectrogramTokenizer,
)
from vitlens_core.models.tokenizers.point_clouds import (
    PointBertTokenizer,
    SetAbstractionTokenizer,
)

__all__ = [
    "PatchTokenizer",
    "PointBertTokenizer",
    "SeriesTokenizer",
    "SetAbstractionTokenizer",
    "SpectrogramTokenizer",
]
