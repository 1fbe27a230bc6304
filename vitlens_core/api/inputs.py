"""What is asked for: lists of inputs, each prepared by itself, and the options of their readers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from inspect import signature

from vitlens_core import modalities, notes
from vitlens_core.api.encoders import Stored
from vitlens_core.errors import ConfigError, InputError, InputWarning

Prepare = Callable[[object, Mapping[str, object]], Stored]

# Of a reader's options: no rate, size or number is larger, and no name longer.
_LARGEST, _LONGEST = 1e9, 100


def listed(name: str, given: object) -> Sequence[object]:
    """Return the inputs of a modality (`InputError`: there are none)."""
    # A string, bytes and an array are sequences too; they are one input.
    items = given if isinstance(given, list | tuple) else [given]
    if not items:
        raise InputError(f"{name}: expected inputs, found none")
    return items


def prepare_one(
    name: str, prepare: Prepare, index: int, item: object, options: Mapping[str, object]
) -> Stored:
    """Read and store one input, and warn of what it lacked (`InputError`, with its index)."""
    try:
        with notes.collected() as found:
            prepared = prepare(item, options)
    except InputError as error:
        raise InputError(f"{name}[{index}]: {error}") from error
    for note in found:
        warnings.warn(f"{name}[{index}]: {note}", InputWarning, stacklevel=4)
    return prepared


def check_options(name: str, options: Mapping[str, object]) -> None:
    """Raise ConfigError if the modality's reader lacks an option, or its value is out of bounds."""
    for option, value in options.items():
        # `not <=` refuses NaN as well.
        is_number = isinstance(value, int | float)
        if (is_number and not abs(value) <= _LARGEST) or len(str(option)) > _LONGEST:
            raise ConfigError(f"reading {name}: {option!s:.40} {value} is out of bounds")
        if isinstance(value, str) and len(value) > _LONGEST:
            raise ConfigError(f"reading {name}: {option!s:.40} has {len(value):,} characters")
    # All parameters of `read` but the first, the path, are options.
    known = [*signature(modalities.load(name).read).parameters][1:]
    if misspelt := sorted(options.keys() - set(known)):
        raise ConfigError(
            f"reading {name} takes {', '.join(known) or 'no options'}; found {', '.join(misspelt)}"
        )
