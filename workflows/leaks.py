"""leaks: tells whether a run trains on the objects of a public benchmark.

The rule: a benchmark's objects are not trained on unless the run says so. Objaverse-LVIS is the
only benchmark whose objects a workflow also takes for training.
"""

from __future__ import annotations

from pipelines.config import RunConfig
from pipelines.objects.opening import holds_objaverse
from vitlens_core.errors import ConfigError

LVIS = "objaverse_lvis"


def trains_on_lvis(config: RunConfig) -> bool:
    """Whether objects with an LVIS class are trained on, but for the held-out share."""
    if config.source is not None:
        return config.source.trains_on_lvis
    objects = config.objects
    if not objects.train_labelled or objects.held_out_uids:
        return False
    return any(holds_objaverse(mirror) for mirror in objects.mirrors().values())


def remarks_on_benchmarks(config: RunConfig) -> list[str]:
    """Say that a benchmark's objects are trained on.

    Raises:
        ConfigError: the benchmark is mounted, and the settings leave it to a default.
    """
    if not trains_on_lvis(config):
        return []
    said = "objects of Objaverse-LVIS are trained on"
    is_stated = config.source is not None or "train_labelled" in config.objects.model_fields_set
    if LVIS in config.benchmarks.roots and not is_stated:
        raise ConfigError(
            f"{said}, and benchmarks.roots mounts {LVIS}: set objects.train_labelled=false to hold "
            "them out (with objects.labelled_only=false), or objects.train_labelled=true if its "
            "figures may be of objects seen in training"
        )
    return [
        f"{said}, but for what is held out: figures of {LVIS} would be of objects seen in training"
    ]
