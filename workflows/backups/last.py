"""last: the note of the last finished backup, which lies in the store for the exporter."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict

from pipelines.store.artifact_store import Store
from pipelines.store.files import storage_errors, write_atomic
from pipelines.store.shards import encode_model
from vitlens_core.errors import StorageError

logger = logging.getLogger(__name__)
LAST = "last_backup.json"  # in the root of a store, where no artifact lies


class LastBackup(BaseModel):
    """What the exporter is told of the last finished backup."""

    model_config = ConfigDict(frozen=True)

    made_at: AwareDatetime
    size_bytes: int


def last_backup(store: Store) -> LastBackup | None:
    """Return what a store says of the last backup; None if there was none.

    Raises:
        OSError: the store cannot be read.
        ValidationError: what it says is damaged.
    """
    path = store.root / LAST
    if not isinstance(path, Path):
        path.fs.invalidate_cache(path.path)  # another process writes it
    try:
        return LastBackup.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None


def tell(store: Store, size_bytes: int) -> None:
    """Leave in the store what the exporter shows; the backup is good without it."""
    last = LastBackup(made_at=datetime.now(UTC), size_bytes=size_bytes)
    try:
        with storage_errors(store.root):
            if isinstance(store.root, Path):
                store.root.mkdir(parents=True, exist_ok=True)
            write_atomic(store.root / LAST, encode_model(last))
    except StorageError as error:
        logger.warning("the backup is finished, but its figures are not shown: %s", error)
