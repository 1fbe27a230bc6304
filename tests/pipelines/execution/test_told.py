"""Errors of workers reach the driver as a known class and a sentence, whatever they carry."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipelines.execution.bulk import write_shards
from pipelines.execution.shard_tasks import ShardTask
from pipelines.execution.told import WorkerError, tell, told
from pipelines.objects.transfer import UnreachableError
from tests.pipelines.processors import Carrying, Touch, refuse_with
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


def test_attributes_of_an_error_are_not_unpickled_by_the_driver(
    tmp_path: Path, local_ray: None
) -> None:
    """A worker raises an error that runs code where it is unpickled."""
    touched = tmp_path / "touched"
    os.close(pickle.loads(pickle.dumps(Touch(str(touched)))))
    assert touched.exists(), "it works where it is unpickled"
    touched.unlink()
    runtime = quiet_runtime(tmp_path, render_workers=1)
    build = runtime.store.begin("carrying", 1, {}, {})
    with pytest.raises(BadSampleError, match=r"^it carries something$") as raised:
        write_shards(runtime, build, [ShardTask("a")], Carrying(str(touched)))
    assert raised.value.args == ("it carries something",)
    assert not touched.exists()
    with pytest.raises(WorkerError, match="ZeroDivisionError: a stranger's"):
        write_shards(runtime, build, [ShardTask("b")], refuse_with)
