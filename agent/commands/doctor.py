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
    settings: options.SettingsFile = None,
    assignments: options.Assignments = None,
) -> None:
    """Examine this node: what is wrong, and what mends it.

    Every configured engine speaks a test sentence in each of its languages, and the sound is looked at: that there is some, that
    it is as long as its text, neither silent nor clipped. Then: a voice for every configured language, the LiveKit server and its
    key, the ports. Ends with 0 when all is well, else with 1.
    """
    with options.one_line():
        found = options.read(settings, assignments)
        options.log_quietly(found)
        if show_settings:
            from agent import glossary

            options.table(("setting", "value"), ((row.key, row.shown(found)) for row in glossary.rows()))
        elif not asyncio.run(_examine(found)):
            raise typer.Exit(options.CANNOT)


async def _examine(settings: Settings) -> bool:
    from agent import doctor
    from agent.node import find_engines

    well = True

    def tell(finding: doctor.Finding) -> None:
        nonlocal well
        well = well and finding.ok
        mark = typer.style("ok   ", fg="green") if finding.ok else typer.style("WRONG", fg="red", bold=True)
        typer.echo(f"{mark}  {finding.subject}: {finding.text}")
        if finding.remedy:
            typer.echo(f"       mend it: {finding.remedy}")

    engines, left_out = find_engines(settings)
    chosen = "fallback_chain" in settings.selection.model_fields_set
    for line in left_out:
        tell(doctor.Finding("engines", not chosen, line, "selection.fallback_chain names the engines" if chosen else ""))
    async for finding in doctor.diagnose(settings, engines):
        tell(finding)
    return well
