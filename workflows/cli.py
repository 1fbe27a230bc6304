"""cli: the `vitlens` command.

Exit codes: 0 done, 1 a gate failed (the lens stays challenger), 2 a mistake in the arguments or
settings, 3 any other failure, 130 stopped by Ctrl-C. A command is a module of
`workflows.commands`; only the module of the called command is imported.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
import traceback
from pathlib import Path

import click
from rich.console import Console

import workflows.commands
from pipelines.execution.told import WorkerError
from vitlens_core.errors import ConfigError, VitlensError, unknown
from workflows.environment import quiet_environment
from workflows.exit_codes import FAILED, INTERRUPTED, MISTAKE
from workflows.modalities import modality_names
from workflows.text import shown


class _Cli(click.Group):
    """Finds commands by name, and turns their exceptions into a message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_modules())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if (module := _modules().get(cmd_name)) is None:
            return None
        return importlib.import_module(f"{workflows.commands.__name__}.{module}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and args[0] not in _modules():
            raise ConfigError(unknown("command", args[0], self.list_commands(ctx)))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(name)) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> object:
        debug = bool(ctx.params.get("debug"))
        try:
            return super().invoke(ctx)
        except click.MissingParameter as error:
            if error.param is None or error.param.name != "modality":
                raise
            there_are = f"There are: {', '.join(modality_names())}."
            raise click.MissingParameter(there_are, error.ctx, error.param) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt as error:
            stopped = "stopped; run the same command again to go on from here"
            _say("\n".join([stopped, *_notes(error)]), "yellow")
            sys.exit(INTERRUPTED)
        except Exception as error:
            if debug:
                traceback.print_exc()
            _say(_message(error), "red")
            sys.exit(MISTAKE if isinstance(error, ConfigError) else FAILED)


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vitlens", message="vitlens %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Teach a frozen vision-language model to perceive a modality."""
    quiet_environment()


def _modules() -> dict[str, str]:
    """Return the module of every command; `import_` is `import`, which no module can be called."""
    names = (module.name for module in pkgutil.iter_modules(workflows.commands.__path__))
    return {name.rstrip("_"): name for name in names}


def _summary(name: str) -> str:
    """Return the first line of a command's docstring without importing the module."""
    source = Path(workflows.commands.__path__[0], f"{_modules()[name]}.py").read_text()
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def _message(error: Exception) -> str:
    """Return an error's text and notes; one that is not our own has its type before it."""
    if isinstance(error, VitlensError):
        return "\n".join([str(error), *_notes(error)])
    is_told = isinstance(error, WorkerError)
    named = error.headline if is_told else f"{type(error).__name__}: {error}"
    return "\n".join([named, *_notes(error), "--debug shows the traceback"])


def _notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


def _say(message: str, colour: str) -> None:
    console = Console(stderr=True, emoji=False)  # otherwise rich shows `clip:x:` as a cross
    console.print(f"[{colour}]{shown(message)}[/]", highlight=False, soft_wrap=True)


if __name__ == "__main__":  # python -m workflows.cli
    main()
