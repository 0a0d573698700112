"""``voicebooth voices``: who can speak here."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from agent.commands import options


def voices(
    language: Annotated[str | None, typer.Option(help="Only voices of this language, for example fr or fr-CA.", show_default=False)] = None,
    engine: Annotated[str | None, typer.Option(help="Only this engine, configured or not.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list instead of a table.")] = False,
    settings: options.SettingsFile = None,
    assignments: options.Assignments = None,
) -> None:
    """List the voices that can be spoken now, by engine.

    It loads the engines of selection.fallback_chain, as the node does, so what is listed works. What could be installed
    besides is shown by `voicebooth models list`.
    """
    with options.one_line():
        from agent.node import find_engine, find_engines
        from engines.base import EngineError

        found = options.read(settings, assignments)
        options.log_quietly(found)
        here, problems = [], []
        for ready in [find_engine(engine, found)] if engine else find_engines(found)[0]:
            try:
                ready.load()
            except EngineError as error:
                problems.append(f"engine {ready.name}: {error}")
                continue
            here += [voice for voice in ready.voices() if not language or options.speaks(voice.language, language)]
        for problem in problems:
            typer.echo(f"voicebooth: {problem}", err=True)
        if as_json:
            typer.echo(json.dumps([dataclasses.asdict(voice) for voice in here], ensure_ascii=False, indent=2))
        else:
            options.table(
                ("voice", "language", "engine", "gender", "Hz"), ((v.id, v.language, v.engine, v.gender, v.sample_rate) for v in here)
            )
        if not here:
            raise typer.Exit(options.CANNOT)
