"""``voicebooth keys``: who may call this node from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands import options

if TYPE_CHECKING:
    from pathlib import Path

app = typer.Typer(
    help="""Make, list and remove keys for the HTTP and WebSocket door.

A key is shown once, when it is made; what is kept is its hash. A running node takes notice within seconds.""",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What the key is called: whoever will have it.")],
    admin: Annotated[bool, typer.Option("--admin", help="It may change the node, too.")] = False,
    settings: options.SettingsFile = None,
    assignments: options.Assignments = None,
) -> None:
    """Make a key and print it, once."""
    from agent.gateway import keyring

    with _file(settings, assignments) as path:
        typer.echo(keyring.add(path, name, [keyring.ADMIN if admin else keyring.SPEAK]))
        typer.echo(f"the key {name} is kept as a hash in {path}; it is not shown again", err=True)


@app.command("list")
def list_(settings: options.SettingsFile = None, assignments: options.Assignments = None) -> None:
    """List names, what each key is good for, and since when."""
    from agent.gateway import keyring

    with _file(settings, assignments) as path:
        keys = keyring.read(path).keys
    options.table(("name", "scopes", "created"), ((key.name, ", ".join(key.scopes), key.created) for key in keys))


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="The key's name.")],
    settings: options.SettingsFile = None,
    assignments: options.Assignments = None,
) -> None:
    """Take a key away."""
    from agent.gateway import keyring

    with _file(settings, assignments) as path:
        keyring.remove(path, name)
        typer.echo(f"the key {name} opens nothing any more", err=True)


@contextmanager
def _file(settings: Path | None, assignments: list[str] | None) -> Iterator[Path]:
    with options.one_line():
        from agent.gateway.keyring import KeyringError, keys_path

        try:
            yield keys_path(options.read(settings, assignments))
        except KeyringError as error:
            raise options.Refusal(str(error)) from None
