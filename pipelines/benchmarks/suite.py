"""suite: measures a model on the mounted benchmarks.

Promises  a data set that cannot be listed or read loses only its own rows, and its reader's
          message is shown; the others are measured.
"""

from __future__ import annotations

from collections.abc import Callable, Set

import numpy as np

from pipelines.benchmarks.arithmetic import composed
from pipelines.benchmarks.base import Benchmark, Mounted
from pipelines.benchmarks.embedded import (
    Embedded,
    Texts,
    deviations,
    embed,
    of_classes,
    prepared,
    prompted,
    sampled,
)
from pipelines.benchmarks.mounting import Suite
from pipelines.benchmarks.protocols import (
    Figure,
    calibration,
    distinct_captions,
    few_shot,
    linear_probe,
    mean_average_precision,
    merged,
    retrieval,
    zero_shot,
)
from pipelines.benchmarks.seen import count_seen
from pipelines.benchmarks.step import BenchmarksConfig
from pipelines.benchmarks.table import Row, Table, row, said_of_seen, unscored
from vitlens_core.api.model import Model
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.metrics import Bootstrap

_GENERATED = "generated files: says nothing of real recordings"
_EMERGENT = "emergent: the lens was never trained against text"


def measure(
    suite: Suite,
    model: Model | None,
    config: BenchmarksConfig,
    advance: Callable[[int], None],
    *,
    emergent: bool = False,
    trained_on: Set[str] | None = None,
) -> Table:
    """Measure a suite and return its table.

    Args:
        model: may be None if nothing is mounted.
        advance: called with the number of test recordings that were embedded.
        emergent: whether the lens was trained without text; figures with text then say so.
        trained_on: uids of the training samples, as `seen.trained_uids`; None: not known.
    """
    rows: list[Row] = []
    failed = list(suite.failed)
    for name, mounted in suite.mounted.items():
        assert model is not None, "a mounted benchmark needs a model"
        benchmark = suite.known[name]
        seen, of = count_seen(mounted, trained_on), len(mounted.test)
        try:
            for figure in _figures(benchmark, mounted, model, config, advance):
                notes = (
                    *_notes(benchmark, mounted, model, figure, emergent),
                    f"seen in training: {said_of_seen(seen, of)}",
                )
                comparable = not mounted.generated
                rows.append(row(benchmark, figure, notes, comparable=comparable, seen=seen, of=of))
        except (ConfigError, InputError) as error:
            failed.append(unscored(benchmark, str(error)))
    return Table(
        modalities=suite.modalities, rows=tuple(rows), failed=tuple(failed), skipped=suite.skipped
    )


def _figures(
    benchmark: Benchmark,
    mounted: Mounted,
    model: Model,
    config: BenchmarksConfig,
    advance: Callable[[int], None],
) -> list[Figure]:
    model = prepared(model, benchmark)
    test = embed(model, mounted.test, config.batch_size, advance)
    bootstrap = Bootstrap(config.resamples, config.seed)
    if benchmark.task == "retrieval":
        return _retrieved(benchmark, test, model, config, bootstrap)
    classes = prompted(model, benchmark, mounted.classes, config.batch_size)
    if benchmark.task == "multilabel":
        return _several_labels(mounted, test, classes, bootstrap)
    figures = _classified(benchmark, mounted, test, classes, model, bootstrap)
    return figures + _trained(mounted, test, model, config, bootstrap)


def _notes(
    benchmark: Benchmark, mounted: Mounted, model: Model, figure: Figure, emergent: bool
) -> tuple[str, ...]:
    """Return the notes of a figure beside its protocol."""
    notes = [*mounted.notes, *deviations(model, benchmark)]
    notes += [benchmark.caveat] if benchmark.caveat else []
    notes += [_GENERATED] if mounted.generated else []
    return (*notes, _EMERGENT) if emergent and figure.with_text else tuple(notes)


def _classified(
    benchmark: Benchmark,
    mounted: Mounted,
    test: Embedded,
    classes: np.ndarray,
    model: Model,
    bootstrap: Bootstrap,
) -> list[Figure]:
    """Compute zero-shot figures and the calibration of their confidences."""
    scores, names = test.embeddings @ classes.T, list(mounted.classes)
    if benchmark.merged:
        scores, names = merged(scores, [benchmark.merged[name] for name in names])
    figures = zero_shot(scores, of_classes(test, names), test.groups, bootstrap)
    own = model.temperature(benchmark.modality)
    return figures + _calibrated(scores, names, test, own, bootstrap)


def _calibrated(
    scores: np.ndarray, names: list[str], test: Embedded, temperature: float, bootstrap: Bootstrap
) -> list[Figure]:
    """Fit a temperature on one half of the groups, and measure it on the other."""
    validation, measured = test.halves(bootstrap.seed)
    if not len(validation) or not len(measured):
        return []
    first = np.isin(test.groups, list(set(validation.groups)))
    parts = [
        (scores[chosen], of_classes(part, names))
        for chosen, part in ((first, validation), (~first, measured))
    ]
    return calibration(parts[0], parts[1], measured.groups, temperature, bootstrap)


def _several_labels(
    mounted: Mounted, test: Embedded, classes: np.ndarray, bootstrap: Bootstrap
) -> list[Figure]:
    relevant = np.array([[name in labels for name in mounted.classes] for labels in test.labels])
    figures = mean_average_precision(test.embeddings @ classes.T, relevant, test.groups, bootstrap)
    return figures + composed(test, mounted.classes, classes, bootstrap)


def _retrieved(
    benchmark: Benchmark,
    test: Embedded,
    model: Model,
    config: BenchmarksConfig,
    bootstrap: Bootstrap,
) -> list[Figure]:
    captions = Texts(model, config.batch_size).encode_text(distinct_captions(test)[0])
    return retrieval(test, captions.numpy(), benchmark.word, bootstrap)


def _trained(
    mounted: Mounted, test: Embedded, model: Model, config: BenchmarksConfig, bootstrap: Bootstrap
) -> list[Figure]:
    """Compute few-shot and linear probe, from the training split or from half of the test."""
    if not (config.few_shot or config.linear_probe):
        return []
    support, query = test.halves(config.seed)
    if mounted.training:
        chosen = sampled(mounted.training, config.training_recordings, config.seed)
        support, query = embed(model, chosen, config.batch_size, lambda _: None), test
    if not len(support) or not len(query):
        return []
    figures = (
        few_shot(support, query, config.shots, config.draws, bootstrap) if config.few_shot else []
    )
    if config.linear_probe:
        figures += linear_probe(support, query, config.probe_strength, bootstrap)
    return figures
