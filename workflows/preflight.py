"""preflight: what can be known to fail is found before any process is started."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.mirror import open_mirror
from pipelines.teacher import find_teacher
from vitlens_core.foundation import check_foundation
from workflows.spec import Workflow, load_workflow


def check(workflow: Workflow, profile: str, overrides: Sequence[str]) -> None:
    """Check the settings, and that data set or mirror and foundation are there (`ConfigError`)."""
    config = workflow.config(profile, overrides)
    if config.source is None:
        open_mirror(config.objects.mirror)
    elif config.source.is_local:
        config.source.folder()
    if find_teacher(config.foundation.spec):
        return
    if workflow.foundation_of:
        check(load_workflow(workflow.foundation_of), profile, ())
    else:
        check_foundation(config.foundation.spec)
