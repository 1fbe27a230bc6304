"""A run asks the registry of its home a dozen times; its tables are made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.registry import own_store, server


def test_a_store_has_one_client_until_another_is_put_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    first = server.connect(tmp_path)
    assert server.connect(tmp_path) is first
    copy = tmp_path / "copy.db"
    shutil.copyfile(own_store.database(tmp_path), copy)
    copy.replace(own_store.database(tmp_path))
    assert server.connect(tmp_path) is not first
    other = tmp_path / "other"
    other.mkdir()
    shutil.copyfile(own_store.database(tmp_path), own_store.database(other))
    assert server.connect(other) is not first
