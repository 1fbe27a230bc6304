"""protocols: against values by hand and naive references."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.benchmarks.embedded import Embedded, of_classes, sampled
from pipelines.benchmarks.protocols import (
    Figure,
    by_luck,
    calibration,
    distinct_captions,
    few_shot,
    linear_probe,
    mean_average_precision,
    merged,
    retrieval,
    zero_shot,
)
from tests.pipelines.benchmarks.made_up import listed
from vitlens_core.metrics import Bootstrap, softmax

BOOTSTRAP = Bootstrap(resamples=100)
quick = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**31)


def embedded(vectors: Any, labels: Any = (), texts: Any = (), groups: Any = ()) -> Embedded:
    vectors = np.asarray(vectors, dtype=np.float64)
    count = len(vectors)
    return Embedded(
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        [(label,) if isinstance(label, str) else tuple(label) for label in labels] or [()] * count,
        [tuple(t) for t in texts] or [()] * count,
        list(groups) or [str(i) for i in range(count)],
    )


def values(figures: list[Figure]) -> dict[str, float]:
    return {figure.metric: figure.interval.value for figure in figures}


# --- zero-shot --------------------------------------------------------------------------------


def test_zero_shot_by_hand():
    scores = np.array([[3, 2, 1, 0], [1, 2, 3, 0], [0, 1, 2, 3], [3, 2, 1, 0]], dtype=float)
    figures = zero_shot(scores, np.array([0, 1, 0, 0]), list("abcd"), BOOTSTRAP)
    assert values(figures) == {
        "top1": pytest.approx(2 / 4),
        "top3": pytest.approx(3 / 4),
        "class_mean": pytest.approx((2 / 3 + 0) / 2),
    }
    assert [f.chance for f in figures] == [1 / 4, 3 / 4, 1 / 4]
    assert {f.n for f in figures} == {4}


def test_a_kind_counts_as_the_label_it_belongs_to():
    scores = np.array([[0.1, 0.2, 0.9], [0.5, 0.4, 0.3], [0.1, 0.8, 0.2]])
    found, names = merged(scores, ["kitchen", "others", "others"])
    assert names == ["kitchen", "others"]
    np.testing.assert_allclose(found, [[0.1, 0.9], [0.5, 0.4], [0.1, 0.8]])


# --- mAP --------------------------------------------------------------------------------------


def plain_average_precision(scores: np.ndarray, relevant: np.ndarray) -> float:
    order = np.argsort(-scores, kind="stable")
    hits = relevant[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / hits.sum())


def test_map_by_hand():
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    relevant = np.array([[1, 1], [0, 0], [1, 0]], dtype=bool)
    [figure] = mean_average_precision(scores, relevant, list("abc"), BOOTSTRAP)
    # Ranks 1 and 3 of the first class, 3 of the second.
    assert figure.interval.value == pytest.approx(((1 + 2 / 3) / 2 + 1 / 3) / 2)
    assert figure.chance == pytest.approx((2 / 3 + 1 / 3) / 2)


@given(seed=seeds, count=st.integers(3, 20), classes=st.integers(1, 5))
@quick
def test_map_is_that_of_a_plain_ranking(seed, count, classes):
    rng = np.random.default_rng(seed)
    scores, relevant = rng.normal(size=(count, classes)), rng.random((count, classes)) < 0.4
    relevant[0] = True
    few = Bootstrap(resamples=5)
    [figure] = mean_average_precision(scores, relevant, [str(i) for i in range(count)], few)
    plain = [plain_average_precision(scores[:, k], relevant[:, k]) for k in range(classes)]
    assert figure.interval.value == pytest.approx(np.mean(plain))
    assert 0 <= figure.interval.low <= figure.interval.high <= 1


def test_classes_that_nobody_has_are_left_out_and_said_so():
    relevant = np.array([[1, 0], [0, 0]], dtype=bool)
    [figure] = mean_average_precision(np.eye(2), relevant, list("ab"), BOOTSTRAP)
    assert figure.interval.value == 1
    assert figure.notes == ("1 classes have no recording and are left out",)


# --- retrieval --------------------------------------------------------------------------------


def test_retrieval_by_hand_both_ways():
    recordings = embedded(np.eye(3), texts=[("a", "b"), ("c",), ("d",)])
    captions = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]], dtype=float)
    found = values(retrieval(recordings, captions, "audio", BOOTSTRAP))
    # Of four captions "b" lies on another recording; every recording meets one of its own,
    # but "b" is as near to the second as its own "c": a tie counts against.
    assert found["text_to_audio_r1"] == pytest.approx(3 / 4)
    assert found["audio_to_text_r1"] == pytest.approx(2 / 3)
    assert found["text_to_audio_r5"] == found["audio_to_text_r5"] == 1


def test_a_caption_that_two_recordings_share_is_one_query_for_both():
    recordings = embedded(np.eye(2), texts=[("rain",), ("rain", "wind")])
    names, own = distinct_captions(recordings)
    assert names == ["rain", "wind"]
    assert own.tolist() == [[True, True], [False, True]]


@given(seed=seeds, gallery=st.integers(1, 7), k=st.integers(1, 8))
@quick
def test_luck_is_that_of_every_order(seed, gallery, k):
    relevant = np.random.default_rng(seed).random((3, gallery)) < 0.4
    relevant[:, 0] = True
    drawn = [set(some) for some in combinations(range(gallery), min(k, gallery))]
    plain = [np.mean([bool(some & set(np.flatnonzero(row))) for some in drawn]) for row in relevant]
    assert by_luck(relevant, k) == pytest.approx(np.mean(plain))


def test_a_resample_without_a_positive_has_no_map():
    relevant = np.eye(8, 1, dtype=bool)
    scores = np.linspace(1, 0, 8)[:, None]
    [figure] = mean_average_precision(scores, relevant, list("abcdefgh"), BOOTSTRAP)
    assert (figure.interval.low, figure.interval.high) == (1, 1)


# --- few-shot, linear probe -------------------------------------------------------------------


def _two_classes(seed: int, count: int = 40, apart: float = 1.0) -> Embedded:
    rng = np.random.default_rng(seed)
    labels = ["cat" if i % 2 else "dog" for i in range(count)]
    means = np.array([[apart, 0, 0, 0] if label == "cat" else [0, apart, 0, 0] for label in labels])
    return embedded(means + rng.normal(size=(count, 4)) * 0.5, labels)


def test_few_shot_takes_all_of_a_class_where_it_has_no_more():
    support = embedded([[1, 0], [0, 1], [1, 1], [0, 1]], ["cat", "dog", "cat", "dog"])
    query = embedded([[1, 0.1], [0.4, 1], [1, 0.9]], ["cat", "dog", "cat"])
    [figure] = few_shot(support, query, [2], 3, BOOTSTRAP)
    # Prototypes: cat between (1, 0) and (1, 1), dog at (0, 1); the second query is a dog's.
    assert (figure.kind, figure.interval.value, figure.chance) == ("2-shot", 1.0, 0.5)
    assert figure.n == 3


def test_few_shot_is_a_mean_of_seeded_draws():
    support, query = _two_classes(0), _two_classes(1)
    first, again = (few_shot(support, query, [1, 4], 5, BOOTSTRAP) for _ in range(2))
    assert first == again
    other = few_shot(support, query, [1, 4], 5, Bootstrap(resamples=100, seed=7))
    assert values(other[:1]) != values(first[:1])
    assert first[1].interval.value > 0.7
    share = first[0].interval.value * 5 * len(query)
    assert share == pytest.approx(round(share))


def test_shots_that_a_class_has_not_are_left_out():
    support = embedded(np.eye(3), ["cat", "dog", "cat"])
    query = embedded(np.eye(3)[:2], ["cat", "dog"])
    assert [f.kind for f in few_shot(support, query, [1, 2], 2, BOOTSTRAP)] == ["1-shot"]


def test_more_shots_help():
    found = few_shot(_two_classes(0, 80), _two_classes(1, 80), [1, 16], 10, BOOTSTRAP)
    assert found[1].interval.value > found[0].interval.value


def test_a_linear_probe_finds_what_prototypes_cannot():
    """The class is whether the first two numbers agree in their third, linear, product."""
    rng = np.random.default_rng(0)
    signs = rng.choice([-1, 1], size=(200, 2))
    # Along the first axis both classes spread widely; only the small second one tells them apart.
    vectors = np.stack([10 * rng.normal(size=200), signs[:, 0], np.full(200, 5.0)], axis=1)
    labels = ["cat" if sign > 0 else "dog" for sign in signs[:, 0]]
    half = 100
    raw = Embedded(vectors, [(x,) for x in labels], [()] * 200, [str(i) for i in range(200)])
    support, query = raw.take(range(half)), raw.take(range(half, 200))
    [probe] = linear_probe(support, query, 1.0, BOOTSTRAP)
    assert probe.interval.value == 1
    assert (probe.n, probe.chance, probe.notes) == (100, 0.5, ("on 100 recordings",))


def test_a_support_of_one_class_has_no_probe():
    one = embedded(np.eye(2), ["cat", "cat"])
    assert linear_probe(one, one, 1.0, BOOTSTRAP) == []


# --- calibration ------------------------------------------------------------------------------


def test_a_temperature_fitted_elsewhere_mends_overconfidence():
    rng = np.random.default_rng(0)

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        logits = rng.normal(size=(count, 3))
        drawn = (softmax(logits).cumsum(axis=1) < rng.random((count, 1))).sum(axis=1)
        return 0.05 * logits, np.minimum(drawn, 2)

    validation, test = part(3000), part(3000)
    groups = [str(i) for i in range(3000)]
    before, after = calibration(validation, test, groups, 0.01, BOOTSTRAP)
    assert (before.metric, after.metric) == ("ece", "ece_fitted")
    assert before.interval.value > 0.2
    assert after.interval.value < 0.05
    assert before.notes == ("temperature 0.01",)
    assert float(after.notes[0].split()[1]) == pytest.approx(0.05, rel=0.15)


# --- recordings in parts ----------------------------------------------------------------------


@given(seed=seeds)
@quick
def test_halves_share_no_group_and_every_class(seed):
    rng = np.random.default_rng(seed)
    groups = [f"g{i}" for i in rng.integers(8, size=30)]
    labels = ["cat" if int(group[1:]) % 2 else "dog" for group in groups]
    whole = embedded(rng.normal(size=(30, 3)), labels, groups=groups)
    first, second = whole.halves(seed)
    assert len(first) + len(second) == 30
    assert not set(first.groups) & set(second.groups)
    for name in {"cat", "dog"}:
        owners = {g for g, label in zip(groups, labels, strict=True) if label == name}
        if len(owners) > 1:
            assert all((name,) in part.labels for part in (first, second))


def test_training_recordings_are_drawn_of_every_class_alike():
    examples = listed({"cat": 10, "dog": 3})
    kept = sampled(examples, 4, seed=0)
    assert sorted(e.labels[0] for e in kept) == ["cat", "cat", "dog", "dog"]
    assert kept == sampled(examples, 4, seed=0)
    assert [e.key for e in kept] == [e.key for e in examples if e in kept]
    assert sampled(examples, 50, seed=0) == examples


def test_classes_are_places_in_their_order():
    assert of_classes(embedded(np.eye(2), ["b", "a"]), ["a", "b"]).tolist() == [1, 0]
