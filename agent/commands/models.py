"""``voicebooth models``: what is on this disk for engines to speak with, and what could be."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands import options

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from engines.catalog import Catalog, Row

SERVICE = "service"  # where what never lies on this disk is listed to be

app = typer.Typer(help="List, install, verify, remove and calibrate voices and models.", no_args_is_help=True)

Ids = Annotated[list[str], typer.Argument(metavar="VOICE...", help="Their ids, as `voicebooth models list` shows them.")]


@app.command("list")
def show(
    language: Annotated[str | None, typer.Option(help="Only voices of this language, for example fr or fr-CA.", show_default=False)] = None,
    engine: Annotated[str | None, typer.Option(help="Only what this engine speaks with.", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what could be installed, in every language.")] = False,
    settings: options.SettingsFile = None,
    assignments: options.Assignments = None,
) -> None:
    """List voices and models: what is installed, and with --language, --engine or --all also what could be.

    \b
    voicebooth models list --language fr
    voicebooth models install fr_FR-siwis-medium
    """
    with options.one_line():
        rows = [
            row
            for row in _catalog(settings, assignments).list_voices()
            if ((row.installed and row.source != SERVICE) or language or engine or everything)
            and (not language or any(options.speaks(spoken, language) for spoken in row.language.split(",")))
            and (not engine or row.engine == engine)
        ]
        options.table(
            ("id", "engine", "language", "gender", "quality", "licence", "MB", "where"),
            (
                (
                    row.id,
                    row.engine,
                    row.language,
                    row.gender,
                    row.tier,
                    row.licence,
                    f"{row.size / 1e6:.0f}" if row.size else "",
                    _place(row),
                )
                for row in rows
            ),
        )


def _place(row: Row) -> str:
    return row.source if row.installed or row.source == SERVICE else "to install"


@app.command("show")
def details(ids: Ids, settings: options.SettingsFile = None, assignments: options.Assignments = None) -> None:
    """Show all that is known of voices and models: licence, files, sizes, hashes, where they come from."""
    with options.one_line():
        catalog = _catalog(settings, assignments)
        for id in ids:
            entry = catalog.entry(id)
            facts: list[tuple[str, object]] = [
                ("id", id),
                ("engine", entry.engine),
                ("language", ",".join(entry.languages)),
                ("gender", entry.gender),
                ("quality", entry.tier),
                ("speakers", entry.speakers if entry.speakers > 1 else ""),
                ("licence", entry.licence or "see its MODEL_CARD, beside its files"),
                ("terms", entry.terms and f"{entry.terms} ({'accepted' if catalog.is_accepted(entry) else 'to be accepted'})"),
                ("source", entry.source),
            ]
            facts += [("file", f"{file.path}  {file.size} bytes  {file.algorithm}:{file.digest}") for file in entry.files]
            facts += [("here", catalog.find(entry, file)) for file in entry.files if catalog.find(entry, file).exists()]
            for name, fact in facts:
                if fact:
                    typer.echo(f"{name:<9}{fact}")


@app.command()
def install(
    ids: Ids,
    accept: Annotated[bool, typer.Option("--accept-licence", help="Accept their licences, here and from now on.")] = False,
    settings: options.SettingsFile = None,
    assignments: options.Assignments = None,
) -> None:
    """Download voices and models, checked against the hashes of the catalog; what broke off goes on where it stopped."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    with options.one_line():
        catalog = _catalog(settings, assignments)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        for id in ids:
            with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
                tell = functools.partial(_advance, bar, bar.add_task(id, total=None))
                path = catalog.install(id, tell, accept=accept)
            typer.echo(f"{id}: {path}")


@app.command()
def verify(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[VOICE...]", help="Their ids; all that are installed by default.")] = None,
    settings: options.SettingsFile = None,
    assignments: options.Assignments = None,
) -> None:
    """Check the files of what is installed against the hashes of the catalog."""
    from engines.base import EngineError

    with options.one_line():
        catalog = _catalog(settings, assignments)
        damaged = False
        for id in ids or [row.id for row in catalog.list_voices() if row.installed and row.source != SERVICE]:
            try:
                typer.echo(f"{id}: {'as in the catalog' if catalog.verify(id) else 'not in the catalog, nothing to compare it with'}")
            except EngineError as error:
                damaged = True
                typer.echo(f"voicebooth: {error}", err=True)
        if damaged:
            raise typer.Exit(options.CANNOT)


@app.command()
def remove(ids: Ids, settings: options.SettingsFile = None, assignments: options.Assignments = None) -> None:
    """Delete installed voices and models from the folder that `models.root` names, and from the engine's cache."""
    with options.one_line():
        catalog = _catalog(settings, assignments)
        for id in ids:
            catalog.remove(id)
            typer.echo(f"{id}: removed")


@app.command()
def calibrate(
    engine: Annotated[str, typer.Argument(metavar="ENGINE", help="kokoro: the one whose voices can be measured.")],
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[VOICE...]", help="Voices or mixtures, such as af_heart:0.6+af_bella:0.4; all voices by default."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also those that were measured here before.")] = False,
    press: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Then put everything that was measured here into one small file.", show_default=False),
    ] = None,
    settings: options.SettingsFile = None,
    assignments: options.Assignments = None,
) -> None:
    """Measure what lets voices stream inside the sentence, three quarters of a minute each; it may be broken off and goes on where it was.

    \b
    The voices of the model are measured already: the package brings their statistics. This is for voices of your own, and for
    mixtures that are to sound as well as a single voice. A voice that sounds worse for it is spoken in whole sentences.
    """
    with options.one_line():
        if engine != "kokoro":
            raise options.Refusal(f"the voices of engine {engine!r} need no calibration; those of kokoro do")
        from agent.config import cache_folder
        from engines.kokoro import calibrate as kokoro

        found = options.read(settings, assignments).kokoro
        cache = found.cache or cache_folder() / "kokoro"
        path = None
        for done in kokoro.calibrate(ids or (), found.folder, cache, again=again):
            path = done.path
            if not done.distance:
                typer.echo(f"{done.id}: measured before")
            else:
                verdict = "" if done.is_good else ": it will be spoken in whole sentences"
                typer.echo(f"{done.id}: level {done.level:.1f} dB off, spectra {done.distance:.1f} dB{verdict}")
        if press and path:
            typer.echo(f"{press}: {kokoro.press(path.parent, press)} voices")


def _advance(bar: Progress, task: TaskID, here: int, total: int) -> None:
    bar.update(task, completed=here, total=total)


def _catalog(path: options.SettingsFile, assignments: options.Assignments) -> Catalog:
    return options.catalog(options.read(path, assignments))
