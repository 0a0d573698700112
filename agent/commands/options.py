"""What commands have in common: where settings come from, and how a command ends when it cannot do what it should."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from agent.config import Settings
    from engines.catalog import Catalog

SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", metavar="FILE", help="YAML file with settings; VOICEBOOTH_SETTINGS can name it, too.", show_default=False),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting, for example node.languages=en,fr. May be repeated.", show_default=False),
]
CANNOT = 1
"""Exit status of a command that could not do what it should."""
UNSEEN_WIDTH = 240  # characters: what goes into a file or another program is not wrapped
UNUSABLE = 2
"""Exit status of a command that was asked in a way that cannot be."""


class Refusal(Exception):
    """A command cannot go on; ``str()`` is the one line that its user reads, with what mends it."""


def read(path: Path | None, assignments: list[str] | None, **typed: Any) -> Settings:
    """The settings in effect. ``typed``: what the command's own options said, as ``section__key``; None is not said.

    Raises :exc:`agent.config.SettingsError`.
    """
    from agent.config import SettingsError, load

    overrides: dict[str, Any] = {}
    for assignment in assignments or ():
        key, equals, value = assignment.partition("=")
        if not equals:
            raise SettingsError(f"--set {assignment}: write KEY=VALUE, for example node.languages=en,fr")
        _put(overrides, key.strip().split("."), value)
    for name, value in typed.items():
        if value is not None and value != []:
            _put(overrides, name.split("__"), value)
    return load(path, overrides)


def catalog(settings: Settings) -> Catalog:
    """Of the folders in which these settings let engines look."""
    from agent.config import cache_folder
    from engines.catalog import Catalog
    from engines.kokoro.files import further_folders

    kokoro = further_folders(settings.kokoro.folder, settings.kokoro.cache or cache_folder() / "kokoro")
    return Catalog(settings.models.root, offline=settings.models.offline, elsewhere={"kokoro": kokoro})


def _put(overrides: dict[str, Any], parts: list[str], value: Any) -> None:
    *sections, key = parts
    for section in sections:
        overrides = overrides.setdefault(section, {})
        if not isinstance(overrides, dict):
            break  # the same key as a value and as a section: the check of the settings names it
    else:
        overrides[key] = value


@contextmanager
def one_line() -> Iterator[None]:
    """Errors that a user can mend are told in one line, without a traceback, and end the command with a status of their own."""
    from agent.config import SettingsError
    from agent.devserver import ServerFailed, ServerMissing
    from engines.base import EngineError

    try:
        yield
    except SettingsError as error:
        _tell(error)
        raise typer.Exit(UNUSABLE) from None
    except (Refusal, ServerFailed, ServerMissing, EngineError) as error:
        _tell(error)
        raise typer.Exit(CANNOT) from None


def _tell(error: Exception) -> None:
    typer.echo(f"voicebooth: {error}", err=True)


def log_quietly(settings: Settings) -> None:
    """For commands that answer a question: the log tells warnings, unless a setting asks for more or less than usual."""
    from agent import log

    level = "WARNING" if settings.log.level == "INFO" else settings.log.level
    log.configure(settings.log.model_copy(update={"level": level}))


def speaks(spoken: str, wanted: str) -> bool:
    """Whether a voice of that language is one of those asked for: ``fr`` asks for ``fr-CA``, too."""
    spoken, wanted = spoken.lower(), wanted.lower().replace("_", "-")
    return spoken == wanted or spoken.startswith(wanted + "-")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns for people; plain text when nobody looks."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in head:
        shown.add_column(name, overflow="fold")
    for row in rows:
        shown.add_row(*map(str, row))
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = UNSEEN_WIDTH
    console.print(shown)
