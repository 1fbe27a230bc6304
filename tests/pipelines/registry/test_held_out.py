"""Gates that ask whether figures can mean anything."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.evaluation.step import EvaluationConfig
from pipelines.registry.gates.base import GateContext, summed_up
from pipelines.registry.gates.held_out import HeldOut
from pipelines.registry.gates.non_inferiority import NonInferiority
from pipelines.registry.version import ModelVersion
from tests.pipelines.finished_run import zero_shot
from tests.pipelines.quiet import quiet_runtime


def _version(number: int, classes: tuple[str, ...]) -> ModelVersion:
    now = datetime.now(UTC)
    return ModelVersion("vitlens-a", number, (), "run", "e", (), "", now, classes=classes)


def _context(tmp_path: Path, result: Any, classes: tuple[str, ...], theirs: Any) -> GateContext:
    runtime, split = quiet_runtime(tmp_path), EvaluationConfig()
    ours, champion = _version(2, classes), _version(1, theirs)
    context = GateContext(runtime, tmp_path, {}, split, ours, champion)
    return replace_result(context, result)


def replace_result(context: GateContext, result: Any) -> GateContext:
    context.__dict__["result"] = result  # a cached property: it would be read from an artifact
    return context


@pytest.mark.parametrize(
    ("n", "groups", "classes", "reason"),
    [
        (4, 4, 3, "4 held-out samples, but must be at least 20"),
        (301, 1, 3, "1 groups of held-out samples, but must be at least 2"),
        (76, 76, 1, "1 classes, but must be at least 2"),
        (76, 76, 25, ""),
    ],
)
def test_figures_of_too_few_are_refused(
    tmp_path: Path, n: int, groups: int, classes: int, reason: str
) -> None:
    scores = zero_shot(1.0, classes, n).model_copy(update={"groups": groups})
    result = SimpleNamespace(zero_shot=scores, classes=tuple(map(str, range(classes))))
    checked = HeldOut(name="held_out").check(_context(tmp_path, result, (), ()))
    assert checked.passed is not bool(reason)
    assert reason in checked.reason


def test_a_challenger_of_other_classes_is_a_question(tmp_path: Path) -> None:
    context = _context(tmp_path, None, ("chair",), ("chair", "lamp", "sofa"))
    checked = NonInferiority(name="non_inferiority").check(context)
    assert not checked.passed
    assert "1 (chair) instead of 3 (chair, lamp, sofa)" in checked.reason
    assert "other_classes=accept" in checked.reason


def test_skipped_gates_are_named_in_the_verdict() -> None:
    gate = HeldOut(name="held_out")
    passed = gate.result(True, "", metric="", value=0, threshold=0)
    assert summed_up([passed]) == "passed"
    assert summed_up([passed, gate.skip("nothing")]) == "passed, skipped: held_out"
    assert summed_up([replace_passed(passed)]) == "failed"


def replace_passed(result: Any) -> Any:
    return result.model_copy(update={"passed": False})
