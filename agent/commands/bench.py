"""``voicebooth bench``: the bench's own commands, imported when they are asked for."""

from __future__ import annotations

import typer

from agent.commands import options


def bench(context: typer.Context) -> None:
    """Measure latency and capacity at a listener, in real rooms. `voicebooth bench --help` lists what can be measured."""
    with options.one_line():
        try:
            from bench import cli

            status = cli.main(context.args)
        except ModuleNotFoundError as error:
            raise options.Refusal(f"the bench needs {error.name}: pip install 'voicebooth[bench,piper,voices]'") from None
        raise SystemExit(status)
