"""Ask a question about a file of any modality."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import cast

import click
from rich.console import Console

from vitlens_core.api.asking import WITHOUT_MODEL, Answer
from vitlens_core.errors import ConfigError
from vitlens_core.plugins.ask import open_question_model
from vitlens_core.plugins.ask.base import Fusion
from workflows.given import Named, by_modality, takes_model
from workflows.text import shown


@click.command("ask")
@takes_model
@click.argument("given", nargs=-1, required=True, metavar="FILE… QUESTION")
@click.option("--by", metavar="MODEL", help="Question model: a folder, or a name on the hub.")
@click.option(
    "--connector",
    type=click.Path(path_type=Path),
    help="With it, MODEL is any causal language model; `vitlens connector` trains one.",
)
@click.option("--answer", "answers", multiple=True, help="One of the answers to choose among.")
@click.option("--together", is_flag=True, help="All files belong to one question.")
@click.option(
    "--fusion",
    type=click.Choice(["vit", "former", "language", "embedding"]),
    help="Where they meet.",
)
@click.option("--max-tokens", default=40, show_default=True, type=click.IntRange(1))
def command(
    named: Named,
    given: tuple[str, ...],
    by: str | None,
    connector: Path | None,
    answers: tuple[str, ...],
    together: bool,
    fusion: str | None,
    max_tokens: int,
) -> None:
    """Ask a question about a file of any modality.

    FILE may be written MODALITY=FILE. Without --by the nearest of the answers is given; of a
    registered model these are its classes.
    """
    *files, question = given
    if not files:
        raise ConfigError(f"expected files and then a question, found {question!r} alone")
    if connector is not None and by is None:
        raise ConfigError("--connector stands before a language model: name it with --by")
    model = named.open()
    groups = by_modality(model, files)
    # The choices of --fusion are those of `Fusion`.
    where = cast(Fusion | None, fusion)
    answer = partial(model.ask, question=question, fusion=where, trusted=False)
    if by is not None:
        asked = open_question_model(by, named.device, connector=connector)
        answer = partial(answer, by=asked, max_new_tokens=max_tokens)
    console = Console()
    apart = [groups] if together else [{name: files} for name, files in groups.items()]
    for parts in apart:
        choices = () if by is not None else answers or named.known_classes(parts)
        said = answer(parts, answers=choices)
        for name, one in zip(zip(*parts.values(), strict=True), said, strict=True):
            _show(console, " + ".join(name), one)


def _show(console: Console, name: str, said: Answer) -> None:
    how = f"by {said.by}"
    if said.by == WITHOUT_MODEL:
        how = f"zero-shot, no question model; probability {said.probability:.2f}"
    console.print(
        f"{shown(name)}: [bold]{shown(said.text)}[/] [dim]({shown(how)})[/]", soft_wrap=True
    )
