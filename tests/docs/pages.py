"""The pages as tests read them: their code blocks, commands and quoted names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_QUOTED = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
# Written by `vitlens new` in the tutorial; it is not there otherwise.
MADE_UP = "sonar"


@dataclass(frozen=True)
class Command:
    """One `vitlens …` of a page, without the name of the program."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"

    @property
    def overrides(self) -> list[str]:
        """The values of its `--set`."""
        return self.values("--set")

    def values(self, option: str) -> list[str]:
        return [value for name, value in pairwise(self.words) if name == option]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a language, in order."""
    return [body for kind, body in _FENCE.findall(page.read_text()) if kind == language]


def shell_lines(page: Path) -> Iterator[list[str]]:
    """The words of every command line of a page, continued lines joined."""
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            # A shell's comment begins a word; shlex ends one at any `#`, as in `random@5#0`.
            if words := shlex.split(re.sub(r"(^|\s)#.*", "", line)):
                yield words


def commands() -> list[Command]:
    """Every `vitlens …` line of every page."""
    return [
        Command(name_of(page), tuple(words[1:]))
        for page in PAGES
        for words in shell_lines(page)
        if words[0] in ("vitlens", ".venv/bin/vitlens")
    ]


def quoted(page: Path) -> list[str]:
    """What stands between backticks in a page's prose."""
    return _QUOTED.findall(_FENCE.sub("", page.read_text()))
