"""Hostile files of every format: each is read rightly or refused, and the next is read.

`make test` reads an eighth of them, `make nightly` all; hostile.json keeps the counts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.fuzzing import LIMITS, outcome, picture
from tests.chaos.hostile.counting import GROUPS, ends
from vitlens_core.api import untrusted
from vitlens_core.sandbox import Sandbox

COUNTS = Path(__file__).with_name("hostile.json")
_SHARE = 8


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with untrusted.sandbox(LIMITS) as sandbox:
        yield sandbox


def check(sandbox: Sandbox, folder: Path, group: str, step: int) -> dict[str, str]:
    found = ends(sandbox, folder, group, step)
    expected = {name: GROUPS[group][1][name][0] for name in found}
    assert found == expected
    assert list(folder.iterdir()) == [], "nothing is written beside a file"
    (folder / "whole.png").write_bytes(picture("PNG"))
    assert outcome(sandbox, "image", folder / "whole.png") == "read", "the next file is read"
    return found


@pytest.mark.parametrize("group", GROUPS)
def test_some_hostile_files(sandbox: Sandbox, tmp_path: Path, group: str) -> None:
    check(sandbox, tmp_path, group, _SHARE)


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("group", GROUPS)
def test_all_hostile_files(sandbox: Sandbox, tmp_path: Path, group: str) -> None:
    found = Counter(check(sandbox, tmp_path, group, 1).values())
    assert json.loads(COUNTS.read_text())[group] == found
