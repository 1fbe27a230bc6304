"""trunk_axes: the points of the axes `trunk` and `efficiency`: which trunk a lens stands on."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.config import RunConfig
from pipelines.sweep.efficiency import POINT as EFFICIENCY

Overrides = tuple[str, ...]


def trunk(value: str, config: RunConfig) -> Overrides:
    """Read `skip_first=8+unlock_cls`: how the trunk differs from a whole, frozen one."""
    settings = type(config.lens.trunk)().model_dump()
    for part in value.split("+") if value != "whole" else ():
        key, _, setting = part.partition("=")
        settings[key] = setting or True
    # Every key is set, so that nothing of the profile's own trunk remains.
    return tuple(
        f"lens.trunk.{key}={'null' if setting is None else str(setting).lower()}"
        for key, setting in settings.items()
    )


def trunks(config: RunConfig) -> list[str]:
    """Propose the profile's trunk, the same one frozen, one with two more unlocked blocks, and
    one that skips half as many."""
    own = config.lens.trunk
    frozen = type(own)(skip_first=own.skip_first, skip_last=own.skip_last)
    unlocked = own.model_copy(update={"unlock_first": own.unlock_first + 2})
    longer = own.model_copy(update={"skip_first": own.skip_first // 2})
    proposed = (own, frozen, unlocked, longer)
    return [_trunk_value(settings.model_dump()) for settings in proposed]


def _trunk_value(settings: Mapping[str, int | bool]) -> str:
    """Write the value that `trunk` reads."""
    parts = [key if value is True else f"{key}={value}" for key, value in settings.items() if value]
    return "+".join(parts) or "whole"


def efficiency(value: str, config: RunConfig) -> Overrides:
    """Read `pretrained@25`: the trunk and the share of training samples in per cent."""
    named = EFFICIENCY.fullmatch(value)
    if named is None:
        raise ValueError(value)
    which, share = named[1], float(named[2]) / 100
    # Every block that is used, and what lies before and after them.
    tables = ("unlock_cls=true", "unlock_positions=true", "unlock_norm_pre=true")
    whole = ("unlock_first=99", "unlock_last=1", *tables)  # the last one with the norm after it
    return (
        f"lens.train.share={share:g}",
        f"lens.trunk.random={'null' if which == 'pretrained' else config.lens.train.seed}",
        *(f"lens.trunk.{setting}" for setting in (whole if which == "whole" else ())),
    )


def efficiencies(config: RunConfig) -> list[str]:
    which, shares = ("pretrained", "random", "whole"), (5, 10, 25, 50, 100)
    return [f"{trunk}@{share}" for trunk in which for share in shares]
