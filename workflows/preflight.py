"""preflight: finds mistakes in settings and inputs before any process is started."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from pipelines.foundation.teachers import find_teachers
from pipelines.objects.mirror import open_mirror
from vitlens_core.errors import ConfigError
from vitlens_core.foundation import check_foundation
from workflows.spec import Workflow, load_workflow


def check(workflow: Workflow, profile: str, overrides: Sequence[str]) -> None:
    """Check the settings, and that the data set or mirror, the foundation and the compiler that
    they name exist (`ConfigError`)."""
    config = workflow.config(profile, overrides)
    if config.resources.compile and not _has_compiler():
        raise ConfigError(
            "resources.compile: no C++ compiler found; install g++, name another compiler in CXX, "
            "or switch it off"
        )
    if config.source is None:
        open_mirror(config.objects.mirror)
    elif config.source.is_local:
        config.source.folder()
    if find_teachers(config.teachers, config.foundation):
        return
    if workflow.foundation_of and workflow.shares_foundation(config):
        check(load_workflow(workflow.foundation_of), profile, ())
    else:
        check_foundation(config.foundation.spec)


def _has_compiler() -> bool:
    """Whether a compiler is here; a cluster's nodes are assumed to have their own."""
    return "RAY_ADDRESS" in os.environ or shutil.which(os.environ.get("CXX", "g++")) is not None
