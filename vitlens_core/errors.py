"""Every error vitlens raises on purpose.

    VitlensError
    ├── ConfigError       a setting is wrong; the message names the valid choices
    ├── InputError        a signal handed in is wrong (shape, rate, unit, NaN)
    ├── BadSampleError    one sample is bad for ever: quarantine it with this reason
    ├── TransientError    may work when tried again (network, rate limit)
    ├── CheckpointError   weights that do not fit the model or the foundation
    ├── StorageError      a disk or store that is full, forbidden or failing
    └── IntegrityError    stored bytes differ from what their manifest says

A message tells the person who made the mistake what was found, what was expected and what to
do. The command line prints it without a traceback. `unknown` writes the most frequent message:
that of a name that does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

_MOST_SHOWN = 40
_MOST_NEAR = 3


class VitlensError(Exception):
    """Root of the errors raised on purpose.

    Attributes:
        may_pass: whether trying again may mend it, where somebody knew; else its class and its
            causes tell.
    """

    may_pass: bool | None = None


class ConfigError(VitlensError):
    """A setting is wrong; the message names the valid choices."""


class InputError(VitlensError, ValueError):
    """A signal handed in by a caller does not have the stated shape, rate, unit or range."""


class BadSampleError(VitlensError):
    """One sample can never be used. Bulk jobs quarantine it with this reason and go on."""


class InputWarning(UserWarning):
    """A file lacks something that was replaced, such as colours."""


class TransientError(VitlensError):
    """An operation failed in a way that trying again may mend."""


class CheckpointError(VitlensError):
    """Weights do not fit the model they are loaded into, or belong to another foundation."""


class StorageError(VitlensError):
    """A disk or store cannot be read or written: no space, no permission, a failing device."""


class IntegrityError(VitlensError):
    """Stored bytes differ from the size or checksum their manifest states."""


def unknown(kind: str, found: str, valid: Iterable[str], near: Sequence[str] = ()) -> str:
    """Write the message for a name that does not exist.

    Close matches come first, or the names that the caller knows to be `near`; then the valid ones.
    """
    choices = list(valid)
    near = near or get_close_matches(found, choices)
    # As people write names: "Point Cloud" for point_cloud.
    near = near or get_close_matches(found.lower().replace(" ", "_"), choices)
    # Or a part of a name, such as nyu for nyu_depth.
    near = (
        near or [n for n in choices if len(found) > 1 and found.lower() in n.lower()][:_MOST_NEAR]
    )
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    listed = ", ".join(choices[:_MOST_SHOWN]) or "none"
    more = f", and {len(choices) - _MOST_SHOWN} more" if len(choices) > _MOST_SHOWN else ""
    return f"unknown {kind} {found!r}; {hint}there are: {listed}{more}"
