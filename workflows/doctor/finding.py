"""finding: what a check found, and how to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        state: `failed` where a run would fail, `warning` where it would be slow or unsafe.
        found: what is there, in a sentence.
        mend: what to do; empty where all is well.
    """

    check: str
    state: State
    found: str
    mend: str = ""
