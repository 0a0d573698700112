"""``voicebooth voices``: who can speak here."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.commands import options

if TYPE_CHECKING:
    from agent.config import Settings
    from engines.base import Engine, Voice
    from engines.catalog import Row

LOADING = 300.0  # seconds after which a load counts as hung: a large model on a slow disk
SHORT = 13  # signs of a hash in the table, its colon included: who wants to compare it takes --json


def voices(
    language: Annotated[str | None, typer.Option(help="Only voices of this language, for example fr or fr-CA.", show_default=False)] = None,
    engine: Annotated[str | None, typer.Option(help="Only this engine, configured or not.", show_default=False)] = None,
    aliases: Annotated[bool, typer.Option("--aliases", help="List other ids under which they can be asked for.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list instead of a table.")] = False,
    settings: options.SettingsFile = None,
    assignments: options.Assignments = None,
) -> None:
    """List the voices that can be spoken now, by engine.

    It loads the engines of selection.fallback_chain, as the node does, so what is listed works. What could be installed
    besides is shown by `voicebooth models list`.
    """
    with options.one_line():
        found = options.read(settings, assignments)
        options.log_quietly(found)
        with contextlib.redirect_stdout(sys.stderr):  # what an engine prints is no part of the list
            here = _load(engine, found)
        if aliases:
            rows = _aliases(here, language)
            columns: tuple[str, ...] = ("id", "name", "language", "gender", "tier", "voice", "engine")
        else:
            rows = _described(here, language, found)
            columns = ("id", "language", "engine", "gender", "tier", "quality", "rating", "licence", "MB", "hash")
        if as_json:
            typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        else:
            options.table(columns, ([_cell(row, column) for column in columns] for row in rows))
        if not rows:
            raise typer.Exit(options.CANNOT)


def _load(engine: str | None, settings: Settings) -> list[Voice]:
    """The voices of this engine, or of the chain; who cannot speak is told."""
    from agent.node import find_engine, find_engines, is_chain_set

    engines, left_out = ([find_engine(engine, settings)], {}) if engine else find_engines(settings)
    problems = left_out if is_chain_set(settings) or not engines else {}
    problems |= asyncio.run(_load_in_lanes(engines, settings))
    here = [voice for ready in engines if ready.name not in problems for voice in ready.voices()]
    for name, problem in problems.items():
        typer.echo(f"voicebooth: engine {name}: {problem}", err=True)
    return here


async def _load_in_lanes(engines: Sequence[Engine], settings: Settings) -> dict[str, str]:
    """What kept each from being loaded, by name; one that hangs keeps nobody waiting for ever."""
    from engines.base import EngineError
    from pipeline.lanes import PATIENCE, Lanes

    lanes, problems = Lanes(settings.lanes), {}
    try:
        for engine in engines:
            try:
                await lanes.run(engine.load, due=0.0, network=engine.network, loads=True, allowance=LOADING / PATIENCE, owner=engine.name)
            except EngineError as error:
                problems[engine.name] = str(error)
    finally:
        lanes.close()
    return problems


def _cell(row: Mapping[str, Any], column: str) -> object:
    """For people, who read neither bytes nor all of a hash."""
    if column == "MB":
        return f"{row['size'] / 1e6:.1f}" if row["size"] else ""
    return row["hash"][: row["hash"].find(":") + SHORT] if column == "hash" else row[column]


def _described(voices: Sequence[Voice], language: str | None, settings: Settings) -> list[dict[str, Any]]:
    """Those of this language, with what the catalog knows of each, or else of the model that speaks it."""
    from agent.roster import entries
    from engines.catalog import known_models
    from engines.tiers import kept_by
    from pipeline.chain import UNRATED

    listed = options.catalog(settings).list_voices()
    rows = {(row.engine, row.id): row for row in listed}
    models = {row.engine: row for row in reversed(listed) if row.id in known_models()}
    ratings = settings.chain.quality
    offers: dict[str, list[Voice]] = {}
    for voice in voices:
        offers.setdefault(voice.engine, []).append(voice)
    described = []
    for entry in entries(offers, settings.chain.order):
        voice = entry.voice
        if language and not options.speaks(voice.language, language):
            continue
        row = rows.get((voice.engine, voice.id.partition("#")[0]))
        model = row or models.get(voice.engine)
        facts = {"quality": row.tier if row else "", "rating": ratings.get(voice.engine, UNRATED), "tiers": kept_by(voice)}
        others = {"aliases": entry.aliases, "engine_voices": entry.engine_voices, "equivalents": entry.equivalents}
        described.append(dataclasses.asdict(voice) | facts | _files(model) | others)
    return described


def _files(row: Row | None) -> dict[str, Any]:
    """What is told of the files of a voice or model; a service has none."""
    if row is None:
        return {"licence": "", "source": "", "size": 0, "hash": ""}
    return {"licence": row.licence, "source": row.source, "size": row.size, "hash": row.digest}


def _aliases(here: Sequence[Voice], language: str | None) -> list[dict[str, Any]]:
    """Those that somebody here can speak."""
    from engines import aliases

    rows = []
    for alias in aliases.aliases():
        voice = aliases.nearest(alias, here, language=language or "")
        if voice is not None and (not language or options.speaks(alias.language or language, language)):
            rows.append(dataclasses.asdict(alias) | {"voice": voice.id, "engine": voice.engine})
    return rows
