"""arithmetic: the definition, on recordings whose place is known."""

import numpy as np
import pytest

from pipelines.benchmarks.arithmetic import composed, queries
from pipelines.benchmarks.embedded import Embedded
from vitlens_core.metrics import Bootstrap

BOOTSTRAP = Bootstrap(resamples=100)
CLASSES = ("rain", "dog", "car")
DIRECTIONS = dict(zip(CLASSES, np.eye(3), strict=True))


def recordings(*labels: tuple[str, ...]) -> Embedded:
    """Each lies where its labels' sum does."""
    sums = np.stack([sum(DIRECTIONS[name] for name in own) for own in labels])
    unit = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return Embedded(unit, list(labels), [()] * len(labels), [str(i) for i in range(len(labels))])


WHOLE = recordings(("rain",), ("dog",), ("rain", "dog"), ("dog", "car"), ("rain", "car"), ("car",))


def test_every_ordered_pair_that_is_there_is_asked_for_once():
    asked = queries(WHOLE.labels, [2, 3, 4], CLASSES, seed=0)
    asked_for = zip(asked.recordings, asked.words, strict=True)
    pairs = [(WHOLE.labels[i][0], CLASSES[k]) for i, k in asked_for]
    assert pairs == [
        *(("rain", "dog"), ("rain", "car"), ("dog", "rain")),
        *(("dog", "car"), ("car", "rain"), ("car", "dog")),
    ]
    assert asked.pairs[0] == asked.pairs[2] == "dog + rain"
    assert asked.relevant.sum(axis=1).tolist() == [1] * 6
    assert asked.relevant[0].tolist() == [True, False, False]


def test_the_sum_finds_both_and_each_alone_does_not():
    found = {
        f.metric: f for f in composed(WHOLE, CLASSES, np.stack([*DIRECTIONS.values()]), BOOTSTRAP)
    }
    assert found["composed_r1"].interval.value == 1
    # Alone, a word is as near to two recordings that hold it; a tie counts against.
    assert found["recording_alone_r1"].interval.value == 0
    assert found["text_alone_r1"].interval.value == 0
    assert found["composed_r1"].chance == pytest.approx(1 / 3)
    assert found["composed_r5"].chance == 1
    assert (found["composed_r1"].n, found["composed_r1"].kind) == (6, "embedding arithmetic")


def test_recordings_of_one_label_are_asked_with_and_never_found():
    asked = queries(WHOLE.labels, [2, 3, 4], CLASSES, seed=3)
    assert not {2, 3, 4} & set(asked.recordings)


def test_the_draw_is_seeded():
    many = recordings(*[("rain",)] * 30, ("rain", "dog"))
    draws = [queries(many.labels, [30], CLASSES, seed).recordings for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_nothing_to_compose_gives_no_figure():
    alone = recordings(("rain",), ("dog",))
    assert composed(alone, CLASSES, np.eye(3), BOOTSTRAP) == []
    together = recordings(("rain", "dog"))
    assert composed(together, CLASSES, np.eye(3), BOOTSTRAP) == []
