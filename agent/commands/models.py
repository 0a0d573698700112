"""``voicebooth models``: what is on this disk for engines to speak with."""

from __future__ import annotations

import typer

from agent.commands import options

app = typer.Typer(help="List, install, verify and remove voices and models.", no_args_is_help=True)


@app.command("list")
def show(settings: options.SettingsFile = None, assignments: options.Assignments = None) -> None:
    """List what is installed, with the place it was found in."""
    with options.one_line():
        from engines.catalog import find_installed

        found = options.read(settings, assignments)
        options.table(("id", "from", "file"), ((item.id, item.source, item.model) for item in find_installed(found.models.root)))
