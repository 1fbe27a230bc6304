"""The share of lines that tests run, by package and folder: `make coverage`.

Reads coverage.py's JSON on standard input, for files of the three packages.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any


def by_folder(files: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Lines that can run, and those that did, of every folder and, last, of all."""
    lines, run = Counter[str](), Counter[str]()
    for path, found in files.items():
        for name in (_folder(path), "all"):
            lines[name] += found["summary"]["num_statements"]
            run[name] += found["summary"]["covered_lines"]
    return {name: (lines[name], run[name]) for name in sorted(lines, key=lambda n: (n == "all", n))}


def _folder(path: str) -> str:
    """`pipelines/store` for whatever lies below it: two levels name a part of a package."""
    return "/".join(PurePath(path).parts[:-1][:2])


def as_table(folders: Mapping[str, tuple[int, int]]) -> Iterable[str]:
    yield f"{'package':<28} {'lines':>7} {'not run':>8} {'run':>7}"
    for name, (lines, run) in folders.items():
        share = run / lines if lines else 1
        yield f"{name:<28} {lines:>7,} {lines - run:>8,} {share:>7.1%}"


if __name__ == "__main__":
    print(*as_table(by_folder(json.load(sys.stdin)["files"])), sep="\n")
