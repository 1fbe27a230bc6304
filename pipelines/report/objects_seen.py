"""objects_seen: shows a few objects of every mirror as they were read, so that a wrong axis shows.

Reads     one shard of renders.
Promises  the choice depends on the order of the shard only, which is that of the keys' hashes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from pipelines.renders.thumbnails import thumbnail
from pipelines.report.pictures import data_uri
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import view_names

_PX = 128
_SHOWN = 8  # of each mirror


@dataclass(frozen=True)
class SeenObject:
    """An object as it was rendered, upright as the lens sees it."""

    picture: str
    name: str
    label: str


def objects_as_read(renders: Artifact | None) -> dict[str, list[SeenObject]]:
    """Return up to 8 objects of each mirror by its name; none without renders."""
    if renders is None:
        return {}
    found: dict[str, list[SeenObject]] = {}
    for path in renders.shards("train")[:1]:
        for sample in renders.read(path):
            described = json.loads(sample["json"])
            of_mirror = found.setdefault(described["mirror"], [])
            if len(of_mirror) < _SHOWN:
                first = thumbnail(bytes(sample[view_names(sample)[0]]), _PX)
                name = described["name"] or described["uid"]
                of_mirror.append(SeenObject(data_uri(first), name, described["label"] or ""))
    return dict(sorted(found.items()))
