"""``voicebooth models``: what is on this disk for engines to speak with, and what could be."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands import options

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from engines.catalog import Catalog

app = typer.Typer(help="List, install, verify and remove voices.", no_args_is_help=True)

Ids = Annotated[list[str], typer.Argument(metavar="VOICE...", help="Their ids, as `voicebooth models list` shows them.")]


@app.command("list")
def show(
    language: Annotated[str | None, typer.Option(help="Only voices of this language, for example fr or fr-CA.", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what could be installed, in every language.")] = False,
    settings: options.SettingsFile = None,
    assignments: options.Assignments = None,
) -> None:
    """List voices: what is installed, and with --language or --all also what could be.

    \b
    voicebooth models list --language fr
    voicebooth models install fr_FR-siwis-medium
    """
    with options.one_line():
        rows = [
            row
            for row in _catalog(settings, assignments).list_voices()
            if (row.installed or language or everything) and (not language or options.speaks(row.language, language))
        ]
        options.table(
            ("id", "language", "gender", "quality", "licence", "MB", "where"),
            (
                (
                    row.id,
                    row.language,
                    row.gender,
                    row.tier,
                    row.licence,
                    f"{row.size / 1e6:.0f}",
                    row.source if row.installed else "to install",
                )
                for row in rows
            ),
        )


@app.command()
def install(ids: Ids, settings: options.SettingsFile = None, assignments: options.Assignments = None) -> None:
    """Download voices, checked against the hashes of the catalog; what broke off goes on where it stopped."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    with options.one_line():
        catalog = _catalog(settings, assignments)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        for id in ids:
            with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
                path = catalog.install(id, functools.partial(_advance, bar, bar.add_task(id, total=None)))
            typer.echo(f"{id}: {path}")


@app.command()
def verify(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[VOICE...]", help="Their ids; all that are installed by default.")] = None,
    settings: options.SettingsFile = None,
    assignments: options.Assignments = None,
) -> None:
    """Check the files of installed voices against the hashes of the catalog."""
    from engines.base import EngineError

    with options.one_line():
        catalog = _catalog(settings, assignments)
        damaged = False
        for id in ids or [row.id for row in catalog.list_voices() if row.installed]:
            try:
                typer.echo(f"{id}: {'as in the catalog' if catalog.verify(id) else 'not in the catalog, nothing to compare it with'}")
            except EngineError as error:
                damaged = True
                typer.echo(f"voicebooth: {error}", err=True)
        if damaged:
            raise typer.Exit(options.CANNOT)


@app.command()
def remove(ids: Ids, settings: options.SettingsFile = None, assignments: options.Assignments = None) -> None:
    """Delete installed voices from the folder that `models.root` names."""
    with options.one_line():
        catalog = _catalog(settings, assignments)
        for id in ids:
            catalog.remove(id)
            typer.echo(f"{id}: removed")


def _advance(bar: Progress, task: TaskID, here: int, total: int) -> None:
    bar.update(task, completed=here, total=total)


def _catalog(path: options.SettingsFile, assignments: options.Assignments) -> Catalog:
    from engines.catalog import Catalog

    found = options.read(path, assignments)
    return Catalog(found.models.root, offline=found.models.offline)
