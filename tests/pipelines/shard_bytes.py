"""A shard's tar in memory."""

from __future__ import annotations

import io
from collections.abc import Iterable

from pipelines.store.shards import Sample, write_samples


def encode_shard(samples: Iterable[Sample]) -> bytes:
    """The bytes `write_shard` would write."""
    buffer = io.BytesIO()
    for _ in write_samples(buffer, samples):
        pass
    return buffer.getvalue()
