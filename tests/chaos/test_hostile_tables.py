"""docs/security.md counts the hostile inputs that the tests have."""

from __future__ import annotations

import re

import pytest

from tests.chaos.hostile.tables import Row, rows
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text().splitlines()


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.what)
def test_the_page_states_what_the_tables_hold(row: Row) -> None:
    assert str(row) in PAGE
    assert row.read + row.refused > 0


def test_the_page_states_their_sum() -> None:
    total = sum(row.read + row.refused for row in rows())
    assert any(line.startswith(f"{total} inputs") for line in PAGE)


def test_every_finding_has_a_row_and_every_test_of_the_page_exists() -> None:
    numbers = {int(found[1]) for line in PAGE if (found := re.match(r"\| (\d+) \| ", line))}
    assert numbers == set(range(1, 22))
    missing, file = [], ""
    for token in re.findall(r"`(tests/[^`]+|::\w+)`", "\n".join(PAGE)):
        own, _, name = token.partition("::")
        file = own or file
        path = ROOT / file
        if not path.is_file() or (name and f"def {name}(" not in path.read_text()):
            missing.append(token)
    assert not missing
