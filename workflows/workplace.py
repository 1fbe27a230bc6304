"""workplace: what assets and commands work with; Dagster's resource, and click's object.

Another one may stand in its place: steps, registry and reports are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from pipelines.flow import FlowStep
from pipelines.registry.registry import Registry
from pipelines.store.artifacts import Artifact
from pipelines.store.home import Home

RESOURCE = "workplace"


@dataclass(frozen=True)
class Retries:
    """How often a step is tried again after a fault of the infrastructure (`workflows.retries`).

    Attributes:
        number: further attempts.
        pause_s: before the first of them [s]; each further pause is twice as long.
    """

    number: int = 3
    pause_s: float = 30.0


@dataclass(frozen=True)
class Workplace:
    """A home with its registry, and how steps are run and reports written there.

    Attributes:
        run_step: as `FlowStep.run`, the step first.
        write_report, write_sweep: as `report.write` and `sweep.write`; None for these
            themselves, which take a second to import.
    """

    home: Home
    registry: Registry
    run_step: Callable[..., Artifact] = FlowStep.run
    write_report: Callable[..., Path] | None = None
    write_sweep: Callable[..., Path] | None = None
    retries: Retries = Retries()

    @classmethod
    def from_environment(cls) -> Workplace:
        home = Home.from_environment()
        return cls(home, Registry(home.root))

    @contextmanager
    def entered(self) -> Generator[None]:
        """Give this workplace to the Dagster jobs that are run in the block.

        Dagster takes no other resource for a job than the one it was defined with.
        """
        token = _PRESENT.set(self)
        try:
            yield
        finally:
            _PRESENT.reset(token)


def present() -> Workplace:
    """Return the workplace that was entered, or that of the environment."""
    return _PRESENT.get() or Workplace.from_environment()


_PRESENT: ContextVar[Workplace | None] = ContextVar("workplace", default=None)
