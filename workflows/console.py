"""console: prints one line per step on the terminal; all other output goes to the log.

Promises  inside `quiet_terminal` only `terminal()` reaches the terminal: everything that
          Dagster, Ray, MLflow or a library's C code prints goes to the run's log file.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from pipelines.execution import logs
from pipelines.registry.gates.base import GateResult
from pipelines.registry.promotion import Move
from pipelines.registry.version import ModelVersion
from pipelines.store.artifacts import Artifact
from vitlens_core.errors import VitlensError
from workflows.text import shown

if TYPE_CHECKING:
    from workflows.dry_run import PlannedStep

_STDOUT, _STDERR = 1, 2
_WIDTH = 12
MARKS = {
    "passed": "[green]passed[/]",
    "failed": "[red]failed[/]",
    "skipped": "[yellow]skipped[/]",
}
_consoles: list[Console] = []


def terminal() -> Console:
    """Return the console for progress and step lines: standard error, also when redirected."""
    return _consoles[-1] if _consoles else Console(stderr=True)


def remark(message: str) -> None:
    """Tell the terminal what a run found before its steps, or what it waits for."""
    terminal().print(f"[yellow]{shown(message)}[/]", highlight=False, soft_wrap=True)


@contextmanager
def quiet_terminal(log: Path) -> Generator[Console]:
    """Send the process's output, its children's and all log records to `log`."""
    with ExitStack() as stack:
        file = stack.enter_context(log.open("a", buffering=1))
        handler = logging.StreamHandler(file)
        handler.setFormatter(logs.formatter())
        root = logging.getLogger()
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        stack.callback(root.removeHandler, handler)
        screen = stack.enter_context(os.fdopen(os.dup(_STDERR), "w"))
        # Descriptors, not sys.stdout: C code and child processes write to descriptors.
        for descriptor in (_STDOUT, _STDERR):
            stack.enter_context(_sent_to(file.fileno(), descriptor))
        _consoles.append(Console(file=screen))
        stack.callback(_consoles.pop)
        yield _consoles[-1]


@contextmanager
def pointing_to(log: Path) -> Generator[None]:
    """Have the message of whatever ends the block early name the log."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if not isinstance(error, VitlensError | KeyboardInterrupt):  # these say what happened
            logging.getLogger("vitlens").exception("it failed")
        error.add_note(log_line(log))
        raise


def log_line(log: Path) -> str:
    """Return the line that names the log at the end of every run."""
    return f"log    {log}"


@contextmanager
def _sent_to(target: int, descriptor: int) -> Generator[None]:
    """Redirect an open file descriptor while the block runs."""
    # Text still in the buffers belongs to the present target.
    sys.stdout.flush()
    sys.stderr.flush()
    original = os.dup(descriptor)
    os.dup2(target, descriptor)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(original, descriptor)
        os.close(original)


def show_plan(console: Console, planned: Sequence[PlannedStep]) -> None:
    """Print one line per step that a run would reuse or make."""
    for step in planned:
        mark = "[yellow]made[/]  " if step.made else "[dim]reused[/]"
        _line(console, step.name, f"{mark} {shown(step.why)}")


def show_artifact(console: Console, artifact: Artifact) -> None:
    """Print `renders      reused` or `renders      224 samples, 2 quarantined, 41 s`."""
    manifest = artifact.manifest
    if artifact.reused:
        return _line(console, manifest.step, "[dim]reused[/]")
    counts = [f"{count:,} {name}" for name, count in manifest.counts.items()]
    if manifest.quarantined:
        counts.append(f"[yellow]{manifest.quarantined:,} quarantined[/]")
    return _line(console, manifest.step, ", ".join([*counts, f"{manifest.seconds:.0f} s"]))


def show_version(console: Console, step: str, model: ModelVersion) -> None:
    _line(console, step, f"{model.name} version {model.version}")


def show_replaced(console: Console, model: ModelVersion, move: Move) -> None:
    """Say that a version which was champion before stays what it is."""
    why = f" ({shown(move.why)})" if move.why else ""
    rolled = move.action == "rollback"
    done = "rolled it back" if rolled else f"made version {move.version} champion after it"
    _line(
        console,
        "champion",
        f"[yellow]unchanged[/]: the run's version {model.version} was champion, and "
        f"{shown(move.who)} {done}{why}; use `vitlens promote` to make it champion again",
    )


def show_gates(console: Console, results: Sequence[GateResult]) -> None:
    for result in results:
        _line(console, "gate", f"{result.name} {MARKS[result.outcome]}: {shown(result.reason)}")


def _line(console: Console, step: str, text: str) -> None:
    console.print(f"[bold]{step:<{_WIDTH}}[/] {text}", highlight=False, soft_wrap=True)
