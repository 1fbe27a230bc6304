"""cli: the `vitlens` command.

Exit codes: 0 done, 1 a gate failed (the lens stays challenger), 2 a mistake in what was asked,
3 any other failure, 130 stopped by Ctrl-C. Heavy imports wait until what was asked is known
to be possible.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from vitlens_core.errors import ConfigError, VitlensError
from workflows import models
from workflows.axes import AXES
from workflows.home import Home, quiet_environment
from workflows.spec import DEFAULT_PROFILE, load_workflow

GATE_FAILED, MISTAKE, FAILED, INTERRUPTED = 1, 2, 3, 130


class _Cli(click.Group):
    """Turns whatever a command raises into a message and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        debug = bool(ctx.params.get("debug"))
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            _say("stopped; the same command goes on where this one left off", "yellow")
            sys.exit(INTERRUPTED)
        except Exception as error:
            if debug:
                traceback.print_exc()
            _say(_message(error), "red")
            sys.exit(MISTAKE if isinstance(error, ConfigError) else FAILED)


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Teach a frozen vision-language model to perceive a modality."""
    quiet_environment()


@main.command()
@click.argument("modality")
@click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="Settings to run with.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Change one setting.")
def run(modality: str, profile: str, overrides: tuple[str, ...]) -> None:
    """From objects to a registered lens; steps already made are reused."""
    workflow = load_workflow(modality)
    from workflows.console import quiet_terminal
    from workflows.preflight import check

    check(workflow, profile, overrides)
    home = Home.from_environment()
    log = home.logs() / f"{modality}-{time.strftime('%Y%m%d-%H%M%S')}.log"
    with quiet_terminal(log):
        outcome = _execute(home, modality, profile, overrides, log)
    from workflows.summary import show_summary

    show_summary(Console(), home.latest)
    if outcome is not outcome.CHAMPION:
        sys.exit(GATE_FAILED)


@main.command()
@click.argument("modality")
@click.option("--axis", required=True, metavar="|".join(AXES), help="What to vary.")
@click.option("--values", metavar="A,B,C", help="Points to take; the axis proposes some.")
@click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="Settings around it.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Change one setting.")
def sweep(
    modality: str, axis: str, values: str | None, profile: str, overrides: tuple[str, ...]
) -> None:
    """Train and evaluate with one setting varied; no lens is registered."""
    workflow = load_workflow(modality)
    from workflows import sweep as sweeps

    plan = sweeps.plan(workflow, profile, overrides, axis, values)
    from workflows.console import quiet_terminal

    home = Home.from_environment()
    log = home.logs() / f"{modality}-{axis}-{time.strftime('%Y%m%d-%H%M%S')}.log"
    with quiet_terminal(log):
        folder = sweeps.run(home, plan, log)
    from workflows.summary import show_sweep

    failed = show_sweep(Console(), folder)
    if failed:
        sys.exit(FAILED)


@main.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE…")
@click.option("--root", "roots", multiple=True, metavar="NAME=FOLDER", help="A mounted data set.")
@click.option("--foundation", metavar="SPEC", help="Of a lens: a spec or a folder.")
@click.option("--device", default="cpu", show_default=True, help="As torch names it.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the table's files.")
def benchmark(
    sources: tuple[str, ...],
    roots: tuple[str, ...],
    foundation: str | None,
    device: str,
    out: Path | None,
) -> None:
    """Measure a model on public data sets, beside what is published."""
    from workflows.benchmark import benchmark as measure

    if measure(Console(), sources, roots, out, foundation, device):
        sys.exit(FAILED)


@main.command()
@click.argument("name")
@click.option("--description", metavar="LINE", help="What it is, for the UI.")
def new(name: str, description: str | None) -> None:
    """Add a modality that works as it is: its science, its workflow and its test."""
    from workflows.scaffold import checkout, create

    root = checkout()
    for path in create(root, name, description):
        click.echo(f"wrote {path}")
    click.echo(
        f"in {root}; what is particular to {name} is marked CHANGE\n"
        f"check  python -m pytest tests/contracts tests/vitlens_core/modalities -k {name}\n"
        f"run    vitlens run {name} --profile tiny --set source.root=FOLDER\n"
        "       FOLDER holds your files and manifest.csv: signal, image, text, label, split"
    )


@main.command()
def status() -> None:
    """Artifacts and registered lenses at a glance."""
    from workflows.status import show_status

    show_status(Console(), Home.from_environment())


@main.command()
@click.option("--step", metavar="NAME", help="Artifacts of this step only, such as shards.")
def verify(step: str | None) -> None:
    """Compare every stored file with its size and checksum."""
    from workflows.verify import verify as compare

    if compare(Console(), Home.from_environment(), step):
        sys.exit(FAILED)


@main.command()
@click.option("--open", "opened", is_flag=True, help="Open it in the browser.")
def report(opened: bool) -> None:
    """Print the path of the latest report."""
    page = Home.from_environment().latest / "report.html"
    if not page.exists():
        raise ConfigError(f"no report at {page} yet: `vitlens run MODALITY` makes one")
    click.echo(page)
    if opened:
        click.launch(page.as_uri())


@main.command()
@click.option("--port", default=3000, show_default=True, help="Of Dagster's UI.")
@click.option("--mlflow-port", default=5000, show_default=True, help="Of MLflow's UI.")
def ui(port: int, mlflow_port: int) -> None:
    """Serve the Dagster and MLflow UIs until Ctrl-C."""
    from workflows.servers import serve as serve_both

    serve_both(Console(stderr=True), Home.from_environment(), port, mlflow_port)


@main.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE…")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--host", default="127.0.0.1", show_default=True, help="Interface to listen on.")
@click.option("--index", default="auto", show_default=True, metavar="auto|FOLDER|none")
@click.option("--replicas", default=1, show_default=True, type=click.IntRange(1))
def serve(sources: tuple[str, ...], port: int, host: str, index: str, replicas: int) -> None:
    """Serve models (models:/NAME@ALIAS, lens files) and the explorer until Ctrl-C."""
    from workflows.serve import serve as run_service

    home = Home.from_environment()
    run_service(Console(stderr=True), home, sources, host, port, index, replicas)


for command in models.COMMANDS:
    main.add_command(command)


def _execute(home: Home, modality: str, profile: str, overrides: tuple[str, ...], log: Path) -> Any:
    """Run the job; a failure that is no message of ours points to the log."""
    from workflows.runner import execute

    try:
        return execute(home, modality, profile, overrides)
    except VitlensError:
        raise
    except Exception as error:
        logging.getLogger("vitlens").exception("the run failed")
        error.add_note(f"full log: {log}")
        raise


def _message(error: Exception) -> str:
    """A message of ours as it stands; of any other error its kind and its notes too."""
    if isinstance(error, VitlensError):
        return str(error)
    notes = getattr(error, "__notes__", [])
    return "\n".join([f"{type(error).__name__}: {error}", *notes, "--debug shows the traceback"])


def _say(message: str, colour: str) -> None:
    console = Console(stderr=True, emoji=False)  # else `clip:x:` would be shown as a cross
    console.print(f"[{colour}]{escape(message)}[/]", highlight=False, soft_wrap=True)
