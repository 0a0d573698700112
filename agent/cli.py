"""The command ``voicebooth``."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from typing import Annotated

import typer

from agent.commands import bench, doctor, join, keys, models, run, say, voices

EPILOG = """
Settings come from the command line, from VOICEBOOTH_SECTION__KEY and LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET,
from a YAML file, in this order; `voicebooth doctor --show-settings` lists all of them.
"""

app = typer.Typer(
    name="voicebooth",
    help="An interpreter's booth for WebRTC rooms: translated text in, streamed speech out.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run.run)
app.command()(join.join)
app.command()(say.say)
app.command()(voices.voices)
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.command()(doctor.doctor)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})(bench.bench)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"voicebooth {version('voicebooth')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")] = False,
) -> None:
    pass


def main() -> None:
    """Runs the command that ``sys.argv`` names, and ends the process with its status."""
    status = 1
    try:
        app()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        if (error := sys.exc_info()[1]) is not None:
            traceback.print_exception(error)
        # A lane may still be inside a step of an engine's library; the interpreter's own end would take the ground from under
        # that thread, and has crashed for it. Everything that has to be ended in order has been by now.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
