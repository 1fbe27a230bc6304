"""Errors of workers reach the driver as a known class and a sentence, whatever they carry."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError
from upath import UPath

from pipelines.execution.bulk import write_shards
from pipelines.execution.remote import run_as_task
from pipelines.execution.shard_tasks import ShardTask
from pipelines.execution.told import ToldError, WorkerError, tell, told, told_by
from pipelines.lens import workers
from pipelines.lens.train_job import TrainJob
from pipelines.objects.transfer import UnreachableError
from tests.pipelines.processors import (
    Carrying,
    CarryingResources,
    carrying,
    refuse_with,
    run,
)
from tests.pipelines.quiet import quiet_runtime
from vitlens_core.errors import BadSampleError, ConfigError, InputError, TransientError


class OwnArgumentsError(TransientError):
    """A class whose objects cannot be unpickled: it takes other arguments than it passes on."""

    def __init__(self, message: str, pause_s: float) -> None:
        super().__init__(f"{message}, in {pause_s} s")


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (ConfigError("a"), ConfigError, "a"),
        (InputError("ü \n {}"), InputError, "ü \n {}"),
        (UnreachableError("away"), TransientError, "away"),
        (OwnArgumentsError("later", 2), TransientError, "later, in 2 s"),
        (BadSampleError("\udcff.glb"), BadSampleError, "?.glb"),
        (BadSampleError("x" * 10**6), BadSampleError, "x" * 20_000),
        (BadSampleError({"a": [1]}), BadSampleError, "{'a': [1]}"),
    ],
)
def test_an_error_becomes_its_nearest_known_class(
    error: Exception, kind: type[Exception], reason: str
) -> None:
    again = told(tell(error))
    assert (type(again), str(again)) == (kind, reason)


def test_what_nobody_foresaw_keeps_its_traceback() -> None:
    try:
        raise KeyError("unforeseen")
    except KeyError as error:
        again = told(tell(error))
    assert type(again) is WorkerError
    assert "KeyError: 'unforeseen'" in str(again)
    assert "test_told.py" in str(again)
    assert again.headline == "KeyError: 'unforeseen'"


@pytest.mark.parametrize(
    "kind",
    ["SystemExit", "_MOST_SHOWN", "Iterable", "__builtins__", "InputWarning"],
)
def test_other_names_make_no_object_of_theirs(kind: str) -> None:
    assert type(told(f'{{"kind": "{kind}", "reason": "x"}}')) is WorkerError


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "", "reason": 1}', '{"kind": ""}'])
def test_what_was_not_told_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        told(text)


class OfWorkersError(Exception):
    """As Ray Train tells of its workers."""

    def __init__(self, *failures: Exception) -> None:
        super().__init__("training failed")
        self.worker_failures = dict(enumerate(failures))


class OfTaskError(Exception):
    """As Ray wraps what a task raised."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("the task failed")
        self.cause = cause


LOST, BROKEN = OSError("its process died"), ToldError(tell(ValueError("connection closed by peer")))
REFUSED = ToldError(tell(ConfigError("refused")))


@pytest.mark.parametrize(
    ("failed", "kind", "reason"),
    [
        (REFUSED, ConfigError, "refused"),
        (OfWorkersError(BROKEN, REFUSED), ConfigError, "refused"),
        (OfWorkersError(LOST, REFUSED), ConfigError, "refused"),
        (OfWorkersError(OfTaskError(BROKEN)), WorkerError, "connection closed"),
        (OfWorkersError(BROKEN, LOST), None, ""),
        (OfWorkersError(), None, ""),
        (OfTaskError(ConfigError("raised, not told")), None, ""),
    ],
)
def test_what_workers_told_is_found_inside_rays_exceptions(
    failed: Exception, kind: type[Exception] | None, reason: str
) -> None:
    found = told_by(failed)
    assert (type(found) if found else None) is kind
    assert reason in str(found)


def test_exceptions_that_cause_each_other_end() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert told_by(first) is None


@pytest.fixture
def touched(tmp_path: Path) -> Path:
    """The file that such an error makes where it is unpickled."""
    path = tmp_path / "touched"
    os.close(pickle.loads(pickle.dumps(carrying(str(path)))).found)
    assert path.exists(), "it works where it is unpickled"
    path.unlink()
    return path


def test_attributes_of_an_error_are_not_unpickled_by_the_driver(
    tmp_path: Path, touched: Path, local_ray: None
) -> None:
    """Workers of shards raise an error that runs code where it is unpickled."""
    runtime = quiet_runtime(tmp_path, render_workers=1)
    build = runtime.store.begin("carrying", 1, {}, {})
    with pytest.raises(BadSampleError, match=r"^it carries something$") as raised:
        write_shards(runtime, build, [ShardTask("a")], Carrying(str(touched)))
    assert raised.value.args == ("it carries something",)
    assert not touched.exists()
    with pytest.raises(WorkerError, match="ZeroDivisionError: a stranger's"):
        write_shards(runtime, build, [ShardTask("b")], refuse_with)


def test_nor_are_those_of_a_job_that_runs_as_a_task(
    tmp_path: Path, touched: Path, local_ray: None
) -> None:
    runtime = quiet_runtime(tmp_path)
    with pytest.raises(BadSampleError, match=r"^it carries something$"):
        run_as_task(runtime, run, (str(touched),), {})
    assert not touched.exists()


@pytest.mark.nightly
def test_nor_are_those_of_workers_that_train(
    tmp_path: Path, touched: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor by the controller of Ray Train, which stands between them and the driver."""
    monkeypatch.setattr(workers, "FAILURES", 0)  # a further attempt takes seconds
    resources = CarryingResources(train_workers=1, path=str(touched))
    job = TrainJob(*[None] * 4, resources)  # ty: ignore[invalid-argument-type]  it never comes to those
    with pytest.raises(BadSampleError, match=r"^it carries something$") as raised:
        workers.fit(job, UPath(tmp_path / "training"), print)
    assert not touched.exists()
    assert "it carries something" in str(raised.value.__cause__)
