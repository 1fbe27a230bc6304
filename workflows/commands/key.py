"""Print this home's public key, which others list to trust its models and gates."""

from __future__ import annotations

import click

from pipelines.registry import signing
from pipelines.store.home import Home


@click.command("key")
def command() -> None:
    """Print this home's public key, which others list to trust its models and gates."""
    click.echo(signing.public_key(Home.from_environment().root))
