"""retries: a fault of the infrastructure is tried again, a mistake is not."""

import errno

import botocore.exceptions
import dagster as dg
import pytest
import requests
from mlflow.exceptions import MlflowException, RestException

from pipelines.execution.faults import of_infrastructure
from pipelines.execution.shard_writer import KilledWorkersError
from pipelines.execution.told import tell, told
from pipelines.store.files import storage_errors
from tests.workflows.stage import Stage
from vitlens_core.errors import (
    BadSampleError,
    CheckpointError,
    ConfigError,
    IntegrityError,
    StorageError,
    TransientError,
)
from workflows.retries import COMMAND_LINE, FROM, retried
from workflows.workplace import Retries

SOON = Retries(number=2, pause_s=0.01)


def stored(error: OSError) -> StorageError:
    """As a step raises what the system or the store's client raised."""
    try:
        with storage_errors():
            raise error
    except StorageError as found:
        return found


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def rest(code: str) -> RestException:
    return RestException({"error_code": code, "message": "of the server"})


FAULTS = {
    "a server that does not answer": TransientError("no answer"),
    "a store that does not answer": stored(ConnectionRefusedError(errno.ECONNREFUSED, "refused")),
    "a failing device": stored(OSError(errno.EIO, "input/output error")),
    "a connection that was reset": ConnectionResetError("reset"),
    "a request of MLflow's client": caused(
        MlflowException("API request failed"), requests.ConnectionError("no route")
    ),
    "a server that failed": rest("INTERNAL_ERROR"),
    "an S3 that is away": botocore.exceptions.EndpointConnectionError(endpoint_url="http://s3"),
}
MISTAKES = {
    "a wrong setting": ConfigError("unknown profile"),
    "bytes that differ": IntegrityError("differs"),
    "weights that do not fit": CheckpointError("do not fit"),
    "a bad sample": BadSampleError("broken"),
    "a shard that kills its workers": KilledWorkersError("killed 10 times"),
    "a full disk": stored(OSError(errno.ENOSPC, "no space left")),
    "a folder that may not be written": stored(PermissionError(errno.EACCES, "denied")),
    "a store that forbids it": stored(PermissionError("Access Denied")),
    "a bucket that does not exist": stored(FileNotFoundError("The specified bucket")),
    "an account that may not": rest("PERMISSION_DENIED"),
    "a mistake of the code": TypeError("unsupported operand"),
    "a mistake because of a lost connection": caused(ConfigError("wrong"), ConnectionError("x")),
}


@pytest.mark.parametrize("error", FAULTS.values(), ids=FAULTS)
def test_a_fault_of_the_infrastructure_is_known(error: Exception) -> None:
    assert of_infrastructure(error)
    assert of_infrastructure(told(tell(error))), "from a worker too, whose causes do not travel"


@pytest.mark.parametrize("error", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_no_fault_of_the_infrastructure(error: Exception) -> None:
    assert not of_infrastructure(error)
    assert not of_infrastructure(told(tell(error)))


def attempts(
    instance: dg.DagsterInstance,
    error: Exception,
    *,
    mended_after: int = 99,
    tags: dict | None = None,
) -> tuple[int, BaseException | None]:
    """How often a step was begun, and what it ended with."""
    begun = []

    @dg.op
    def step(context: dg.OpExecutionContext) -> None:
        begun.append(context.retry_number)
        with retried(context, SOON):
            if len(begun) <= mended_after:
                raise error

    @dg.job(executor_def=dg.in_process_executor)
    def run() -> None:
        step()

    try:
        run.execute_in_process(instance=instance, tags=tags)
    except Exception as raised:
        return len(begun), raised
    return len(begun), None


def test_a_step_goes_on_when_the_fault_is_gone(instance: dg.DagsterInstance) -> None:
    assert attempts(instance, TransientError("away"), mended_after=1) == (2, None)


def test_a_fault_that_stays_ends_the_step_with_what_it_raised(instance: dg.DagsterInstance) -> None:
    error = TransientError("away for good")
    assert attempts(instance, error) == (1 + SOON.number, error)


def test_a_mistake_is_not_tried_again(instance: dg.DagsterInstance) -> None:
    error = ConfigError("unknown profile")
    assert attempts(instance, error) == (1, error)


def test_a_person_at_the_command_line_is_told_at_once(instance: dg.DagsterInstance) -> None:
    error = TransientError("away")
    assert attempts(instance, error, tags={FROM: COMMAND_LINE}) == (1, error)


def test_a_run_of_the_daemon_comes_through_a_store_that_was_away(
    stage: Stage, instance: dg.DagsterInstance
) -> None:
    stage.failure = ("targets", TransientError("the store is away"))

    def back_again() -> None:
        if stage.asked.count("targets") == 2:
            stage.failure = None

    stage.meanwhile["targets"] = back_again
    assert stage.materialise(instance).success
    assert stage.asked.count("targets") == 2
    assert stage.asked.count("shards") == 1


def test_a_run_of_the_daemon_ends_at_once_at_a_mistake(
    stage: Stage, instance: dg.DagsterInstance
) -> None:
    stage.failure = ("targets", ConfigError("no such column"))
    assert not stage.materialise(instance).success
    assert stage.asked.count("targets") == 1
