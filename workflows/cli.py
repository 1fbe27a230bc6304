"""cli: the `vitlens` command.

Exit codes: 0 done, 1 a gate failed (the lens stays challenger), 2 a mistake in what was asked,
3 any other failure, 130 stopped by Ctrl-C. A command is a module of `workflows.commands`; only the
one that is called is imported.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
import traceback
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

import workflows.commands
from vitlens_core.errors import ConfigError, VitlensError
from workflows.environment import quiet_environment
from workflows.exit_codes import FAILED, INTERRUPTED, MISTAKE


class _Cli(click.Group):
    """Finds commands by name, and turns what they raise into a message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(module.name for module in pkgutil.iter_modules(workflows.commands.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        return importlib.import_module(f"{workflows.commands.__name__}.{cmd_name}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(name)) for name in self.list_commands(ctx)])

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


def _summary(name: str) -> str:
    """The first line of a command's module, read without importing it."""
    source = Path(workflows.commands.__path__[0], f"{name}.py").read_text()
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def _message(error: Exception) -> str:
    """A message of ours as it stands; of any other error its kind and its notes too."""
    if isinstance(error, VitlensError):
        return str(error)
    notes = getattr(error, "__notes__", [])
    return "\n".join([f"{type(error).__name__}: {error}", *notes, "--debug shows the traceback"])


def _say(message: str, colour: str) -> None:
    console = Console(stderr=True, emoji=False)  # else `clip:x:` would be shown as a cross
    console.print(f"[{colour}]{escape(message)}[/]", highlight=False, soft_wrap=True)
