"""Metrics: against plain loops, their order and bounds, ties, and what is refused."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitlens_core.errors import InputError
from vitlens_core.metrics import (
    Bootstrap,
    class_embeddings,
    expected_calibration_error,
    fit_temperature,
    mean_over_runs,
    retrieval,
    softmax,
    zero_shot,
)

seeds = st.integers(0, 2**31)
quick = settings(deadline=None, max_examples=40)
FEW = Bootstrap(resamples=50)


def _unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    values = rng.normal(size=shape)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def _problem(seed: int, samples: int = 20, classes: int = 7) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=samples)
    return _unit(rng, samples, 4), _unit(rng, classes, 4), labels


@given(seed=seeds, samples=st.integers(1, 30), classes=st.integers(2, 9))
@quick
def test_accuracies_are_those_of_a_plain_ranking(seed, samples, classes):
    embeddings, centres, labels = _problem(seed, samples, classes)
    ranks = []
    for embedding, label in zip(embeddings, labels, strict=True):
        order = sorted(range(classes), key=lambda k: -float(embedding @ centres[k]))
        ranks.append(order.index(label))
    found = zero_shot(embeddings, centres, labels, FEW)
    for k, figure in ((1, found.top1), (3, found.top3), (5, found.top5)):
        if k > 1 and k >= classes:
            assert figure is None  # it would be 1 whatever the model
            continue
        assert figure
        assert figure.value == pytest.approx(np.mean([r < k for r in ranks]))
    per_class = [
        np.mean([r == 0 for r, label in zip(ranks, labels, strict=True) if label == k])
        for k in set(labels.tolist())
    ]
    assert found.class_mean.value == pytest.approx(np.mean(per_class))
    assert (found.chance, found.n) == (1 / classes, samples)


@given(seed=seeds)
@quick
def test_figures_lie_in_order_and_inside_their_intervals(seed):
    found = zero_shot(*_problem(seed), FEW)
    assert found.top3
    assert found.top5
    assert found.top1.value <= found.top3.value <= found.top5.value
    for figure in (found.top1, found.top3, found.top5, found.class_mean):
        assert 0 <= figure.low <= figure.value + 1e-9
        assert figure.value - 1e-9 <= figure.high <= 1


@given(seed=seeds)
@quick
def test_order_of_classes_is_irrelevant(seed):
    embeddings, centres, labels = _problem(seed)
    order = np.random.default_rng(seed).permutation(len(centres))
    renamed = np.argsort(order)[labels]
    first = zero_shot(embeddings, centres, labels, FEW)
    second = zero_shot(embeddings, centres[order], renamed, FEW)
    for name in ("top1", "top3", "top5", "class_mean"):
        one, other = getattr(first, name), getattr(second, name)
        np.testing.assert_allclose(
            [one.value, one.low, one.high], [other.value, other.low, other.high]
        )


@given(seed=seeds)
@quick
def test_the_confusion_matrix_counts_every_sample_once(seed):
    embeddings, centres, labels = _problem(seed)
    found = zero_shot(embeddings, centres, labels, FEW)
    assert found.confusion.sum(1).tolist() == np.bincount(labels, minlength=7).tolist()
    assert found.confusion.trace() / len(labels) == pytest.approx(found.top1.value)


def test_equal_input_gives_equal_intervals_and_another_seed_others():
    problem = _problem(0)
    first, again, other = (zero_shot(*problem, Bootstrap(seed=seed)) for seed in (0, 0, 1))
    assert (first.top1, first.class_mean) == (again.top1, again.class_mean)
    assert (first.top1, first.class_mean) != (other.top1, other.class_mean)
    assert first.top1.value == other.top1.value


def test_an_interval_is_as_wide_as_that_of_a_proportion():
    """Half of 400 right: ±1.96 √(.25 / 400) = ±.049, within the noise of 2,000 resamples."""
    centres = np.eye(2)
    labels = np.zeros(400, dtype=int)
    embeddings = centres[np.arange(400) % 2]
    top1 = zero_shot(embeddings, centres, labels).top1
    assert top1.value == 0.5
    assert top1.high - top1.low == pytest.approx(0.098, abs=0.01)


def test_rare_classes_weigh_as_much_in_the_class_mean():
    centres = np.eye(2)
    labels = np.array([0] * 9 + [1])
    found = zero_shot(centres[[0] * 10], centres, labels)
    assert (found.top1.value, found.class_mean.value) == (0.9, 0.5)


def test_ties_count_against():
    same = np.ones((5, 1))
    found = zero_shot(same, np.ones((6, 1)), np.arange(5))
    assert found.top5
    assert found.top5.value == 0
    found = retrieval(same, np.ones((20, 1)), np.eye(5, 20, dtype=bool))
    assert found["r10"].value == 0


def test_prompts_are_averaged_and_normalised_again():
    prompts = _unit(np.random.default_rng(0), 3, 8, 4)
    classes = class_embeddings(prompts)
    np.testing.assert_allclose(np.linalg.norm(classes, axis=1), 1)
    np.testing.assert_allclose(
        (classes * prompts.mean(1)).sum(1), np.linalg.norm(prompts.mean(1), axis=1)
    )


@given(seed=seeds, queries=st.integers(1, 12), items=st.integers(1, 25))
@quick
def test_recall_is_that_of_a_plain_search(seed, queries, items):
    rng = np.random.default_rng(seed)
    asked, gallery = _unit(rng, queries, 4), _unit(rng, items, 4)
    relevant = rng.random((queries, items)) < 0.2
    relevant[np.arange(queries), rng.integers(items, size=queries)] = True
    found = retrieval(asked, gallery, relevant, FEW)
    assert list(found) == ["r1", "r5", "r10"]
    for k, figure in zip((1, 5, 10), found.values(), strict=True):
        hits = [relevant[i, np.argsort(-gallery @ asked[i])[:k]].any() for i in range(queries)]
        assert figure.value == pytest.approx(np.mean(hits))
        assert figure.low <= figure.value + 1e-9
        assert figure.value - 1e-9 <= figure.high


def test_everything_finds_itself():
    items = _unit(np.random.default_rng(0), 30, 8)
    found = retrieval(items, items, np.eye(30, dtype=bool))
    # The exact interval of 30 of 30.
    bounds = (1.0, pytest.approx(0.025 ** (1 / 30)), 1.0)
    assert all((f.value, f.low, f.high) == bounds for f in found.values())


@pytest.mark.parametrize(
    ("labels", "message"),
    [([], "0 embeddings"), ([0], "2 embeddings for 1"), ([0, 3], r"0\.\.2"), ([0, -1], r"0\.\.2")],
)
def test_labels_that_do_not_fit_are_refused(labels, message):
    embeddings = np.eye(3)[: 0 if not labels else 2]
    with pytest.raises(InputError, match=message):
        zero_shot(embeddings, np.eye(3), np.array(labels, dtype=int))


def test_a_model_that_gives_no_numbers_is_refused():
    """Every comparison with NaN is false, which would rank such a model first."""
    broken = np.full((2, 3), np.nan)
    with pytest.raises(InputError, match="NaN"):
        zero_shot(broken, np.eye(3), np.array([0, 1]))
    with pytest.raises(InputError, match="NaN"):
        retrieval(broken, np.eye(3), np.eye(2, 3, dtype=bool))


@pytest.mark.parametrize(
    "relevant", [np.ones((2, 4), bool), np.array([[1, 0, 0], [0, 0, 0]], bool)]
)
def test_a_query_without_an_answer_is_refused(relevant):
    with pytest.raises(InputError, match="relevant item"):
        retrieval(np.eye(3)[:2], np.eye(3), relevant)


def test_samples_of_one_group_count_as_one_for_the_interval():
    """Each sample four times over: as wide an interval as of the samples alone."""
    embeddings, centres, labels = _problem(0)
    alone = zero_shot(embeddings, centres, labels)
    four = [np.repeat(part, 4, axis=0) for part in (embeddings, labels)]
    groups = [str(i) for i in np.repeat(np.arange(len(labels)), 4)]
    grouped = zero_shot(four[0], centres, four[1], Bootstrap(groups=groups))
    apart = zero_shot(four[0], centres, four[1])
    for name in ("top1", "class_mean"):
        whole, together, free = (getattr(f, name) for f in (alone, grouped, apart))
        assert together.value == pytest.approx(whole.value)
        width = whole.high - whole.low
        assert together.high - together.low == pytest.approx(width, rel=0.2)
        assert free.high - free.low < 0.7 * width


# --- over runs, calibration -------------------------------------------------------------------


@given(seed=seeds, runs=st.integers(1, 6), samples=st.integers(1, 25))
@quick
def test_the_mean_over_runs_is_the_mean_and_lies_inside_its_interval(seed, runs, samples):
    hits = np.random.default_rng(seed).random((runs, samples)) < 0.5
    found = mean_over_runs(hits, FEW)
    assert found.value == pytest.approx(np.mean(hits))
    assert 0 <= found.low <= found.high <= 1


def test_runs_that_differ_widen_the_interval():
    same = np.tile(np.arange(40) % 2 == 0, (4, 1))
    apart = np.repeat([[True], [True], [False], [False]], 40, axis=1)
    assert mean_over_runs(same).value == mean_over_runs(apart).value == 0.5
    narrow, wide = mean_over_runs(same), mean_over_runs(apart)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


@pytest.mark.parametrize("hits", [np.ones(3), np.ones((0, 3)), np.ones((3, 0))])
def test_no_runs_or_samples_are_refused(hits):
    with pytest.raises(InputError, match="runs, samples"):
        mean_over_runs(hits)


def test_softmax_is_that_of_torch_and_does_not_overflow():
    logits = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32) * 1000
    expected = torch.from_numpy(logits).double().softmax(dim=-1).numpy()
    np.testing.assert_allclose(softmax(logits), expected, atol=1e-12)


def _drawn(rng: np.random.Generator, probabilities: np.ndarray) -> np.ndarray:
    """A label of each row, drawn by its probabilities."""
    return (probabilities.cumsum(axis=1) < rng.random((len(probabilities), 1))).sum(axis=1)


@given(seed=seeds, classes=st.integers(2, 6))
@settings(deadline=None, max_examples=15)
def test_labels_drawn_by_their_probabilities_are_calibrated(seed, classes):
    rng = np.random.default_rng(seed)
    probabilities = softmax(2 * rng.normal(size=(20_000, classes)))
    labels = np.minimum(_drawn(rng, probabilities), classes - 1)
    assert expected_calibration_error(probabilities, labels, Bootstrap(resamples=10)).value < 0.025


def test_the_calibration_error_is_that_of_bins_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.45, 0.55], [0.3, 0.7]])
    labels = np.array([0, 1, 1, 1])
    # Two bins of (0.5, 0.75] and (0.75, 1]: |2 - 1.25| / 4 + |1 - 1.7| / 4.
    found = expected_calibration_error(probabilities, labels, FEW, bins=4)
    assert found.value == pytest.approx(0.75 / 4 + 0.7 / 4)
    assert found.low <= found.value <= found.high


@given(seed=seeds, bins=st.integers(1, 20))
@quick
def test_the_calibration_error_is_that_of_a_plain_loop(seed, bins):
    rng = np.random.default_rng(seed)
    probabilities, labels = softmax(rng.normal(size=(30, 3))), rng.integers(3, size=30)
    expected, confidence = 0.0, probabilities.max(axis=1)
    for lower in range(bins):
        inside = (confidence > lower / bins) & (confidence <= (lower + 1) / bins)
        if inside.any():
            right = probabilities[inside].argmax(axis=1) == labels[inside]
            expected += abs(right.mean() - confidence[inside].mean()) * inside.mean()
    found = expected_calibration_error(probabilities, labels, FEW, bins)
    assert found.value == pytest.approx(expected)


@given(seed=seeds, temperature=st.floats(0.05, 20))
@settings(deadline=None, max_examples=15)
def test_the_temperature_that_scaled_the_logits_is_recovered(seed, temperature):
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(20_000, 4))
    labels = np.minimum(_drawn(rng, softmax(logits)), 3)
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.1)


@given(seed=seeds, factor=st.floats(0.1, 10))
@quick
def test_the_temperature_scales_with_the_scores(seed, factor):
    rng = np.random.default_rng(seed)
    scores, labels = rng.normal(size=(50, 3)), rng.integers(3, size=50)
    scores[np.arange(50), labels] += 1
    expected = fit_temperature(scores, labels) * factor
    assert fit_temperature(scores * factor, labels) == pytest.approx(expected, rel=1e-6)


@given(seed=seeds)
@quick
def test_no_other_temperature_is_likelier(seed):
    rng = np.random.default_rng(seed)
    scores, labels = rng.normal(size=(40, 3)), rng.integers(3, size=40)
    scores[np.arange(40), labels] += 1
    best = fit_temperature(scores, labels)

    def loss(t: float) -> float:
        return float(-np.log(softmax(scores / t)[np.arange(40), labels]).mean())

    assert loss(best) <= min(loss(best * 1.05), loss(best / 1.05))


def test_temperatures_without_a_best_end_at_the_bounds():
    assert fit_temperature(np.eye(3), np.arange(3)) == pytest.approx(1e-4)
    assert fit_temperature(np.eye(3), np.array([1, 2, 0])) == pytest.approx(1e4)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.ones((2, 3)), np.array([0]), "for 1 labels"),
        (np.ones((0, 3)), np.array([], dtype=int), "for 0 labels"),
        (np.ones(3), np.array([0, 1, 2]), "for 3 labels"),
        (np.ones((2, 3)) / 3, np.array([0, 3]), r"0\.\.2"),
        (np.full((2, 3), np.nan), np.array([0, 1]), "NaN"),
    ],
)
def test_scores_that_do_not_fit_are_refused(scores, labels, message):
    for function in (fit_temperature, expected_calibration_error):
        with pytest.raises(InputError, match=message):
            function(scores, labels)


def test_what_is_no_probability_is_refused():
    with pytest.raises(InputError, match="summing to 1"):
        expected_calibration_error(np.ones((2, 3)), np.array([0, 1]))
