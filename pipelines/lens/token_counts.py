"""token_counts: whether the tokens of a lens can be compared with an image's, told from settings.

`token_loss.check_tokens` compares the built networks; here nothing is built, so that a run is
refused before it renders an object.
"""

from __future__ import annotations

from pipelines.foundation.step import FoundationConfig
from vitlens_core.errors import ConfigError
from vitlens_core.foundation import image_patches
from vitlens_core.models.tower_settings import TowerSettings


def check_counts(tower: TowerSettings, foundation: FoundationConfig) -> None:
    """Raise ConfigError unless a lens gives as many tokens as an image of its foundation has.

    A foundation whose patches are not known on this machine passes: a name on a hub.
    """
    if tower.signal_config.in_clips:
        raise in_clips()
    expected = image_patches(foundation.spec, foundation.image_size_px)
    # Another trunk has its own patches, of which an identity lens gives one token each.
    if expected is None or (tower.trunk.model is not None and tower.lens.kind == "identity"):
        return
    if (found := tower.input_tokens(expected)) != expected:
        kind = "" if tower.lens.kind == "perceiver" else "lens.lens.kind to perceiver, "
        raise ConfigError(
            f"lens.train.token_weight: the lens gives {found} tokens, an image of "
            f"{foundation.spec} has {expected} patches; set {kind}lens.lens.latents to "
            f"{expected}, or token_weight to 0"
        )


def in_clips() -> ConfigError:
    """Return the mistake of a signal in clips, which has the tokens of several."""
    return ConfigError(
        "lens.train.token_weight: a signal in clips has the tokens of several; set it to 0"
    )
