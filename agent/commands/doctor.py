"""``voicebooth doctor``: what keeps this node from speaking, and what mends it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands import options

if TYPE_CHECKING:
    from agent.config import Settings


def doctor(
    show_settings: Annotated[bool, typer.Option("--show-settings", help="List every setting with its value in effect, and end.")] = False,
    configured: Annotated[bool, typer.Option("--configured", help="Try only the engines of selection.fallback_chain.")] = False,
    network: Annotated[
        bool, typer.Option("--network", help="Try services as well that are not configured: the test sentences are sent to them.")
    ] = False,
    settings: options.SettingsFile = None,
    assignments: options.Assignments = None,
) -> None:
    """Examine this node: what is wrong, and what mends it.

    Every engine that is installed speaks a test sentence, those that are configured in each of their languages, and the sound is
    looked at: that there is some, that it is as long as its text, neither silent nor clipped. Then: a voice for every configured
    language, the LiveKit server and its key, the ports. Ends with 0 when all is well that the settings ask for, else with 1. No text
    is sent to a service that is not configured, unless --network says so.
    """
    with options.one_line():
        found = options.read(settings, assignments)
        options.log_quietly(found)
        if show_settings:
            from agent import glossary

            options.table(("setting", "value"), ((row.key, row.shown(found)) for row in glossary.rows()))
        elif not asyncio.run(_examine(found, only_configured=configured, network=network)):
            raise typer.Exit(options.CANNOT)


async def _examine(settings: Settings, *, only_configured: bool, network: bool) -> bool:
    from agent import doctor
    from agent.node import find_engine, find_engines, installed_engines, is_chain_set
    from engines.base import Engine, EngineUnavailable

    well = True

    def tell(finding: doctor.Finding) -> None:
        nonlocal well
        well = well and (finding.ok or not finding.is_needed)
        if finding.ok:
            mark = typer.style("ok   ", fg="green")
        elif finding.is_needed:
            mark = typer.style("WRONG", fg="red", bold=True)
        else:
            mark = typer.style("no   ", fg="yellow")
        typer.echo(f"{mark}  {finding.subject}: {finding.text}")
        if finding.remedy:
            typer.echo(f"       mend it: {finding.remedy}")

    engines, left_out = find_engines(settings)
    is_set = is_chain_set(settings)
    told = {engine.name for engine in engines}
    if is_set or only_configured:
        told |= set(left_out)
        for name, why in left_out.items():
            tell(doctor.Finding(f"engine {name}", False, why, "selection.fallback_chain names the engines" if is_set else "", is_set))
    others: list[Engine] = []
    for name in () if only_configured else installed_engines():
        if name in told:
            continue
        try:
            engine = find_engine(name, settings)
        except EngineUnavailable as error:
            tell(doctor.Finding(f"engine {name}", False, str(error), is_needed=False))
            continue
        if engine.network and not network:
            tell(
                doctor.Finding(f"engine {name}", False, "not tried: what it says is sent elsewhere", "--network tries it", is_needed=False)
            )
        else:
            others.append(engine)
    async for finding in doctor.diagnose(settings, engines, others):
        tell(finding)
    return well
