"""The token comes from the environment or a file, never from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.service.config import token_from
from vitlens_core.errors import ConfigError

TOKEN = "0123456789abcdef"


def test_no_token_leaves_the_service_open() -> None:
    assert token_from({}) is None


def test_a_token_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    for environment in ({"VITLENS_TOKEN": TOKEN}, {"VITLENS_TOKEN_FILE": str(file)}):
        found = token_from(environment)
        assert found is not None
        assert found.get_secret_value() == TOKEN
        assert TOKEN not in repr(found)


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"VITLENS_TOKEN": "short"}, "16 or more ASCII characters, found 5"),
        ({"VITLENS_TOKEN": "é" * 20}, "ASCII"),
        ({"VITLENS_TOKEN_FILE": "/nowhere/token"}, "cannot be read: No such file"),
        ({"VITLENS_TOKEN": TOKEN, "VITLENS_TOKEN_FILE": "x"}, "both set"),
    ],
)
def test_a_mistaken_token_is_refused(environment: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        token_from(environment)


def test_an_empty_file_is_no_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ConfigError, match="found 0"):
        token_from({"VITLENS_TOKEN_FILE": str(tmp_path / "token")})
