"""watch: whether what a workflow reads has changed, told without reading it.

Reads     of a local data set or mirror the names, sizes and times of change of its files; of a
          remote mirror the version tags of its two annotation files.
Promises  no payload is opened or fetched; the same state as long as nothing was touched.
"""

from __future__ import annotations

from pipelines.artifacts import digest
from pipelines.config import RunConfig
from pipelines.mirror import open_mirror
from pipelines.states import folder_state


def source_state(config: RunConfig) -> str:
    """A digest of what the source of a run looks like now.

    Recordings that are generated, or come in a package of one version, never change.

    Raises:
        ConfigError: no such data set or mirror.
        TransientError: it cannot be read for now.
    """
    source = config.source
    if source is None:
        return open_mirror(config.objects.mirror).state()
    if not source.is_local:
        return digest({"kind": source.kind, "root": source.root})
    return folder_state(source.folder())
