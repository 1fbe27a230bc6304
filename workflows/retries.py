"""retries: a step is tried again after a fault of the infrastructure (`faults`), and no other."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager

import dagster as dg

from pipelines.execution import logs
from pipelines.execution.faults import of_infrastructure
from pipelines.store.text import redacted
from workflows.workplace import Retries

FROM = "vitlens/from"
COMMAND_LINE = "command line"
PARENT = "dagster/parent_run_id"


def by_command_line(tags: Mapping[str, str]) -> bool:
    """Whether a run is one of the command line, whose user sees it fail.

    One that was started again from it, on Dagster's page, has its tags as well.
    """
    return tags.get(FROM) == COMMAND_LINE and PARENT not in tags


@contextmanager
def retried(
    context: dg.OpExecutionContext | dg.AssetExecutionContext, retries: Retries
) -> Generator[None]:
    """Ask Dagster to try the step again if the infrastructure failed in the block.

    Records of the block are logged as those of the run.

    The last attempt raises what it raised, as does a run of the command line: a person is there,
    and sees at once what does not answer.

    Raises:
        dg.RetryRequested: the step is tried again.
    """
    logs.to_stderr()
    try:
        with logs.where(run=context.run.run_id):
            yield
    except Exception as error:
        by_person = by_command_line(context.run.tags)
        if by_person or context.retry_number >= retries.number or not of_infrastructure(error):
            raise
        policy = _policy(retries)
        pause_s = policy.calculate_delay(context.retry_number + 1)
        reason = redacted(f"{type(error).__name__}: {error}")
        context.log.warning(f"tried again in {pause_s:.0f} s: {reason}")
        raise dg.RetryRequested(policy.max_retries, pause_s) from error


def _policy(retries: Retries) -> dg.RetryPolicy:
    return dg.RetryPolicy(
        max_retries=retries.number,
        delay=retries.pause_s,
        backoff=dg.Backoff.EXPONENTIAL,
        jitter=dg.Jitter.PLUS_MINUS,  # so that runs that failed together do not come together
    )
