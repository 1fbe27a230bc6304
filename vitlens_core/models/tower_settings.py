"""The settings of a tower: with its foundation and its weights they determine it.

They are checked without torch and stored in every lens checkpoint; `tower.build_tower` builds
from them.
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
from vitlens_core.errors import ConfigError
from vitlens_core.modalities.base import AnyTokenizer, SignalConfig
from vitlens_core.network_settings import HeadKind, LensSettings, TrunkSettings


class TowerSettings(BaseModel):
    """The settings of a modality's tower; they are frozen and refuse unknown keys.

    Raises:
        ConfigError: the modality is unknown, the foundation encodes it, or the tokenizer would see
            more than is stored.
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
        """Check the values by the modality's schema, and add its defaults."""
        # A missing or wrong modality is reported by its own field.
        if "modality" not in info.data:
            return value
        modality = modalities.load_lensed(info.data["modality"])
        schema = modality.Signal if info.field_name == "signal" else modality.Tokenizer
        # Defaults are written out: a checkpoint keeps them when a release changes them.
        return schema.model_validate(value).model_dump()

    @model_validator(mode="after")
    def _check_fit(self) -> Self:
        self.tokenizer_config.check(self.signal_config)
        if self.trunk.model is not None and self.head == "frozen":
            raise ConfigError(
                "head: the foundation's frozen projection does not fit another trunk "
                f"({self.trunk.model}); choose linear or mlp"
            )
        return self

    @classmethod
    def of(cls, modality: str, **settings: object) -> TowerSettings:
        """Return the settings with which ViT-Lens trained a modality, changed by `settings`.

        Raises:
            ConfigError: the modality is unknown, or the foundation encodes it.
        """
        known = modalities.load_lensed(modality)
        sections = {"lens": known.lens, "trunk": known.trunk, **settings}
        return cls.model_validate({"modality": modality, **sections})

    @property
    def signal_config(self) -> SignalConfig:
        """The typed section `signal`: what shards store of a recording."""
        return modalities.load_lensed(self.modality).Signal.model_validate(self.signal)

    @property
    def tokenizer_config(self) -> AnyTokenizer:
        """The typed section `tokenizer`: what the network is and sees of a stored signal."""
        return modalities.load_lensed(self.modality).Tokenizer.model_validate(self.tokenizer)

    @property
    def signal_needed(self) -> SignalConfig:
        """The least that must be stored of a recording that goes to the tower directly."""
        return self.tokenizer_config.signal_needed(self.signal_config)

    def input_tokens(self, patches: int) -> int:
        """Return the number of tokens that the lens gives to a trunk of so many patches."""
        if self.lens.kind == "perceiver":
            return self.lens.latents
        # An identity lens returns the tokenizer's tokens: patches on the trunk's grid, or groups.
        return self.tokenizer_config.groups_seen or patches
