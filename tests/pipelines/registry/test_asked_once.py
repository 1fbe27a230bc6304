"""A run asks the registry of its home a dozen times; it is opened once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.registry import own_store, server


def test_a_store_is_opened_once_and_anew_where_another_was_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    opened: list[Path] = []
    opening = own_store.opening
    monkeypatch.setattr(own_store, "opening", lambda home: [opened.append(home), opening(home)][1])
    first = server.connect(tmp_path)
    assert server.connect(tmp_path) is first
    assert opened == [tmp_path]
    copy = tmp_path / "copy.db"
    shutil.copyfile(own_store.database(tmp_path), copy)
    copy.replace(own_store.database(tmp_path))
    assert server.connect(tmp_path) is not first
    assert server.connect(tmp_path / "other") is not first
    assert opened == [tmp_path, tmp_path, tmp_path / "other"]
