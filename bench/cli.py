"""``voicebooth bench``: what can be measured, from the command line."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bench import results

app = typer.Typer(
    name="voicebooth bench",
    help="Measure latency and capacity at a listener, in real rooms. Without a command: all but `quality --voices`, an hour and a half.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

MISSED = 1  # exit status when a figure missed what it must reach
Bench = Callable[[], results.Result]
Quick = Annotated[bool, typer.Option("--quick", help="Few repeats: a first look, not a result to publish.")]
Check = Annotated[bool, typer.Option("--check", help="End with status 1 when a figure misses what it must reach.")]
Keep = Annotated[
    bool | None,
    typer.Option(
        "--keep/--no-keep", help="Keep the result in bench/results, in place of the last one; unless --quick.", show_default=False
    ),
]
Seed = Annotated[int, typer.Option(help="Order, pauses and schedule come from it.")]
Url = Annotated[str, typer.Option(help="A LiveKit server with the keys devkey/secret; one of our own by default.", show_default=False)]
Repeats = Annotated[int | None, typer.Option("--iterations", "-n", min=1, help="Texts per length and system.", show_default=False)]


@app.callback(invoke_without_command=True)
def whole(
    context: typer.Context,
    all_: Annotated[bool, typer.Option("--all", help="Everything, as without a command.")] = False,
    benchmark: Annotated[bool, typer.Option("--benchmark", help="`engine`, `latency` and `pauses`, with --check.")] = False,
    stress: Annotated[bool, typer.Option("--stress", help="`rooms`, with --check.")] = False,
    iterations: Repeats = None,
    connections: Annotated[int | None, typer.Option(min=1, help="Rooms at once.", show_default=False)] = None,
    url: Url = "",
) -> None:
    if context.invoked_subcommand is not None:
        return
    whole = _whole(False, 1, url, iterations, connections)
    some = ("engine", "latency", "pauses") * benchmark + ("rooms",) * stress
    benches = [bench for name, bench in whole.items() if name in some or not some or all_]
    _measure(benches, keep=True, check=benchmark or stress, publish=True)


@app.command()
def latency(
    quick: Quick = False, check: Check = False, keep: Keep = None, seed: Seed = 1, iterations: Repeats = None, url: Url = ""
) -> None:
    """Text to first sound at a listener, beside two peers in the same room; the node's own delay, interruptions."""
    _measure([partial(_latency, quick, seed, iterations, url)], keep=_kept(keep, quick), check=check)


@app.command()
def pauses(quick: Quick = False, check: Check = False, keep: Keep = None, url: Url = "") -> None:
    """A passage at a listener: every sentence, in order, and the pauses between them as the settings name them."""
    _measure([partial(_pauses, quick, url)], keep=_kept(keep, quick), check=check)


@app.command()
def rooms(
    quick: Quick = False,
    check: Check = False,
    keep: Keep = None,
    seed: Seed = 1,
    url: Url = "",
    number: Annotated[int | None, typer.Option("--rooms", "--connections", min=2, help="Rooms at once.", show_default=False)] = None,
    duty: Annotated[
        float | None, typer.Option(min=0.01, max=1.0, help="Part of the time in which a room speaks.", show_default=False)
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=5.0, max=3600.0, help="For which texts arrive.", show_default=False)] = None,
    engine: Annotated[str, typer.Option(help="The node's engine.")] = "piper",
) -> None:
    """Many rooms in one node, texts by a schedule that waits for no answer; what an idle and a speaking room cost."""
    _measure([partial(_rooms, quick, seed, url, number, duty, seconds, engine)], keep=_kept(keep, quick), check=check)


@app.command()
def engine(quick: Quick = False, check: Check = False, keep: Keep = None, seed: Seed = 1, iterations: Repeats = None) -> None:
    """The Piper engine alone beside piper-tts: first sound, whole work, likeness of the samples."""
    _measure([partial(_engine, quick, seed, iterations)], keep=_kept(keep, quick), check=check)


@app.command()
def chain(quick: Quick = False, check: Check = False, keep: Keep = None, seed: Seed = 1, url: Url = "") -> None:
    """The chain while its first engine stalls, hangs, dies, is slow or silent; beside livekit-agents; hedges, forecasts, decisions."""
    _measure([partial(_chain, quick, seed, url)], keep=_kept(keep, quick), check=check)


@app.command()
def crowd(quick: Quick = False, check: Check = False, keep: Keep = None, seed: Seed = 1) -> None:
    """More sessions than Kokoro can carry, with Piper behind it; engines loaded while sessions speak. Six minutes."""
    _measure([partial(_crowd, quick, seed)], keep=_kept(keep, quick), check=check)


@app.command()
def kokoro(
    quick: Quick = False, check: Check = False, keep: Keep = None, seed: Seed = 1, iterations: Repeats = None, url: Url = ""
) -> None:
    """Kokoro in a real room, then alone beside kokoro-onnx: first sound, whole work, memory. Eight minutes."""
    _measure([partial(_kokoro, quick, seed, iterations, url)], keep=_kept(keep, quick), check=check)


@app.command()
def quality(
    quick: Quick = False,
    check: Check = False,
    keep: Keep = None,
    voices: Annotated[
        str,
        typer.Option(
            metavar="[all|ID,ID]",
            help="Instead: Kokoro streamed against Kokoro whole, three sentences by each of these voices. Half an hour for `all`.",
            show_default=False,
        ),
    ] = "",
    voice: Annotated[
        list[str] | None,
        typer.Option(help="An English voice for the set, may be repeated. Without: the default of each engine.", show_default=False),
    ] = None,
) -> None:
    """A hundred sentences by Kokoro and Piper: words, characters, DNSMOS, time; streamed against whole. Goes on when it was ended."""
    ids = () if voices == "all" else tuple(id for id in voices.split(",") if id)
    bench = partial(_voices, quick, ids) if voices else partial(_quality, quick, tuple(voice or ()))
    _measure([bench], keep=_kept(keep, quick), check=check)


@app.command()
def doors(quick: Quick = False, check: Check = False, keep: Keep = None, seed: Seed = 1) -> None:
    """Over HTTP: first audio byte over the engine's own, replies from the cache, memory after ten thousand requests."""
    _measure([partial(_doors, quick, seed)], keep=_kept(keep, quick), check=check)


@app.command()
def sockets(quick: Quick = False, check: Check = False, keep: Keep = None, seed: Seed = 1) -> None:
    """What the WebSocket door adds to an engine's own first sound; a hundred sessions at once, client and node on the same cores."""
    _measure([partial(_sockets, quick, seed)], keep=_kept(keep, quick), check=check)


@app.command()
def browser(quick: Quick = False, check: Check = False, keep: Keep = None, seed: Seed = 1) -> None:
    """Direct WebRTC in headless Chromium: text sent to sound heard, `cancel` to silence."""
    _measure([partial(_browser, quick, seed)], keep=_kept(keep, quick), check=check)


@app.command("all")
def everything(quick: Quick = False, check: Check = False, keep: Keep = None, seed: Seed = 1, url: Url = "") -> None:
    """All of them but `quality --voices`, one after the other, then `report` when they are kept."""
    benches = _whole(quick, seed, url).values()
    _measure(tuple(benches), keep=_kept(keep, quick), check=check, publish=_kept(keep, quick))


@app.command()
def report() -> None:
    """Print the kept results as tables, draw them, and write them into bench/results/README.md, what they must reach into the README."""
    _publish()


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="The WAV file with what a listener heard.")] = Path("demo.wav"),
    passage: Annotated[str, typer.Option(help="A text in bench/texts.")] = "passage.en",
    engine: Annotated[str, typer.Option(help="The node's engine.")] = "piper",
    url: Annotated[str, typer.Option(envvar="LIVEKIT_URL", help="A LiveKit server; one of our own by default.", show_default=False)] = "",
    key: Annotated[str, typer.Option(envvar="LIVEKIT_API_KEY", help="That server's key.", show_default=False)] = "devkey",
    secret: Annotated[str, typer.Option(envvar="LIVEKIT_API_SECRET", help="And its secret.", show_default=False)] = "secret",
) -> None:
    """Send a passage through a real room and record what a listener hears; status 1 when a sentence was not spoken."""
    from bench import demo as shown

    if not asyncio.run(shown.run(out, text=passage, engine=engine, url=url, keys=(key, secret))):
        raise typer.Exit(1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; its exit status. SIGTERM ends it as Ctrl-C does: whatever it has started is ended first."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts us in the background has it ignored
    signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    try:
        app(args=list(arguments) if arguments is not None else None, prog_name="voicebooth bench")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _whole(quick: bool, seed: int, url: str, iterations: int | None = None, connections: int | None = None) -> dict[str, Bench]:
    """Everything that is measured, by its name."""
    return {
        "engine": partial(_engine, quick, seed, iterations),
        "latency": partial(_latency, quick, seed, iterations, url),
        "pauses": partial(_pauses, quick, url),
        "rooms": partial(_rooms, quick, seed, url, connections, None, None, "piper"),
        "chain": partial(_chain, quick, seed, url),
        "crowd": partial(_crowd, quick, seed),
        "kokoro": partial(_kokoro, quick, seed, iterations, url),
        "doors": partial(_doors, quick, seed),
        "sockets": partial(_sockets, quick, seed),
        "browser": partial(_browser, quick, seed),
        "quality": partial(_quality, quick, ()),
    }


def _latency(quick: bool, seed: int, iterations: int | None, url: str) -> results.Result:
    from bench import latency

    plan = dataclasses.replace(latency.QUICK if quick else latency.Plan(), seed=seed)
    return asyncio.run(latency.run(dataclasses.replace(plan, repeats=iterations or plan.repeats), url))


def _engine(quick: bool, seed: int, iterations: int | None) -> results.Result:
    from bench import engine

    plan = dataclasses.replace(engine.QUICK if quick else engine.Plan(), seed=seed)
    return engine.run(dataclasses.replace(plan, repeats=iterations or plan.repeats))


def _doors(quick: bool, seed: int) -> results.Result:
    from bench import doors

    return asyncio.run(doors.run(dataclasses.replace(doors.QUICK if quick else doors.Plan(), seed=seed)))


def _chain(quick: bool, seed: int, url: str) -> results.Result:
    from bench import faults

    return asyncio.run(faults.run(dataclasses.replace(faults.QUICK if quick else faults.Plan(), seed=seed), url))


def _crowd(quick: bool, seed: int) -> results.Result:
    from bench import crowd

    return asyncio.run(crowd.run(dataclasses.replace(crowd.QUICK if quick else crowd.Plan(), seed=seed)))


def _kokoro(quick: bool, seed: int, iterations: int | None, url: str) -> results.Result:
    from bench import kokoro

    plan = dataclasses.replace(kokoro.QUICK if quick else kokoro.Plan(), seed=seed)
    return kokoro.run(dataclasses.replace(plan, repeats=iterations or plan.repeats), url)


def _quality(quick: bool, ids: tuple[str, ...]) -> results.Result:
    from bench import quality

    return quality.run(dataclasses.replace(quality.QUICK if quick else quality.Plan(), voices=ids))


def _voices(quick: bool, ids: tuple[str, ...]) -> results.Result:
    from bench import voices

    plan = voices.QUICK if quick else voices.Plan()
    return voices.run(dataclasses.replace(plan, voices=ids or plan.voices))


def _pauses(quick: bool, url: str) -> results.Result:
    from bench import pauses

    return asyncio.run(pauses.run(1 if quick else pauses.READINGS, url))


def _rooms(quick: bool, seed: int, url: str, number: int | None, duty: float | None, seconds: float | None, engine: str) -> results.Result:
    from bench import rooms

    plan = dataclasses.replace(rooms.QUICK if quick else rooms.Plan(), seed=seed, engine=engine)
    plan = dataclasses.replace(plan, rooms=number or plan.rooms, duty=duty or plan.duty, seconds=seconds or plan.seconds)
    return asyncio.run(rooms.run(plan, url))


def _sockets(quick: bool, seed: int) -> results.Result:
    from bench import sockets

    return asyncio.run(sockets.run(dataclasses.replace(sockets.QUICK if quick else sockets.Plan(), seed=seed)))


def _browser(quick: bool, seed: int) -> results.Result:
    from bench import browser
    from bench.chromium import ChromiumMissing

    try:
        return asyncio.run(browser.run(dataclasses.replace(browser.QUICK if quick else browser.Plan(), seed=seed)))
    except ChromiumMissing as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _kept(keep: bool | None, quick: bool) -> bool:
    """A first look takes the place of no published result unless that is asked for."""
    return not quick if keep is None else keep


def _measure(benches: Sequence[Bench], *, keep: bool, check: bool, publish: bool = False) -> None:
    """One after the other. What one has found is kept before the next begins, and published whatever was missed."""
    from bench import picture

    found = []
    for bench in benches:
        found.append(bench())
        print(results.told(found[-1]) + "\n", flush=True)
        if keep:
            results.save(found[-1])
            picture.draw(found[-1:], results.FOLDER)
    if publish:
        _publish()
    _judge(found, check)


def _judge(found: Sequence[results.Result], check: bool) -> None:
    missed = [f"missed: {figure.name}: {figure.value} {figure.unit}, {figure.target}" for result in found for figure in result.missed]
    for line in missed:
        typer.echo(line, err=True)
    if check and missed:
        raise typer.Exit(MISSED)


def _publish() -> None:
    from bench import picture

    picture.draw(results.saved(), results.FOLDER)
    results.main()
