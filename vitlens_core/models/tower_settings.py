"""Everything that determines a tower beside its foundation and its weights.

Checked without torch, and stored in every lens checkpoint; `tower.build_tower` builds from it.
"""

from __future__ import annotations

from typing import Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from vitlens_core import modalities
from vitlens_core.modalities.base import AnyTokenizer, SignalConfig
from vitlens_core.models.settings import HeadKind, LensSettings, TrunkSettings


class TowerSettings(BaseModel):
    """The settings of a modality's tower; frozen, unknown keys refused.

    Raises:
        ConfigError: an unknown modality, one that the foundation encodes, or a tokenizer that
            would see more than is stored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: str
    signal: dict[str, object] = Field(
        default_factory=dict, validate_default=True, description="what is stored of a recording"
    )
    tokenizer: dict[str, object] = Field(
        default_factory=dict, validate_default=True, description="what the network is and sees"
    )
    lens: LensSettings = LensSettings()
    trunk: TrunkSettings = TrunkSettings()
    head: HeadKind = "frozen"

    @field_validator("signal", "tokenizer")
    @classmethod
    def _complete(cls, value: dict[str, object], info: ValidationInfo) -> dict[str, object]:
        """Checked by the modality, and spelled out so that checkpoints keep its defaults."""
        if "modality" not in info.data:  # missing: its own field says so
            return value
        modality = modalities.load_lensed(info.data["modality"])
        schema = modality.Signal if info.field_name == "signal" else modality.Tokenizer
        return schema.model_validate(value).model_dump()

    @model_validator(mode="after")
    def _check_fit(self) -> Self:
        self.tokenizer_config.check(self.signal_config)
        return self

    @classmethod
    def of(cls, modality: str, **settings: object) -> TowerSettings:
        """The tower ViT-Lens trained for a modality, but for `settings`.

        Raises:
            ConfigError: unknown, or encoded by the foundation itself.
        """
        known = modalities.load_lensed(modality)
        given = {"lens": known.lens, "trunk": known.trunk, **settings}
        return cls.model_validate({"modality": modality, **given})

    @property
    def signal_config(self) -> SignalConfig:
        """What shards store of a recording."""
        return modalities.load_lensed(self.modality).Signal.model_validate(self.signal)

    @property
    def tokenizer_config(self) -> AnyTokenizer:
        """What the network is, and what of a stored signal it sees."""
        return modalities.load_lensed(self.modality).Tokenizer.model_validate(self.tokenizer)

    @property
    def signal_needed(self) -> SignalConfig:
        """What must be stored of a recording that is handed to the tower directly."""
        return self.tokenizer_config.signal_needed(self.signal_config)
