"""The rooms of the house and the arrows between them, asserted on the source itself."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("agent", "engines", "pipeline", "bench")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in SOURCES]

# Who may import what of ours; a longer name narrows, and the last word is the module's own room.
ARROWS: dict[str, tuple[str, ...]] = {
    "engines": ("engines",),
    "pipeline": ("pipeline", "engines.base"),
    "agent": ("agent", "pipeline", "engines"),
    "bench": ("bench", "agent", "pipeline.events", "pipeline.normalize", "pipeline.protocol", "engines"),
}
BENCH_DOOR = "agent/commands/bench.py"  # the command line shows the bench's commands, and imports them when they are asked for
LIVEKIT = {
    f"agent/{name}.py" for name in ("capture", "doctor", "guests", "inbound", "outbound", "room", "track", "upstream", "wakeups", "worker")
}
LIVEKIT |= {"agent/commands/run.py", "agent/commands/say_room.py"}
THREADS = {"pipeline/lanes.py"}
PURE = ("events", "framer", "ingest", "normalize", "protocol", "schedule", "script", "segmenter", "chain", "pace", "loudness")
PURE += ("journey", "turn")
CLOCKS = {"asyncio", "threading", "time", "socket", "subprocess", "concurrent"}
LIGHT = {*sys.stdlib_module_names, "engines", "numpy"}


@cache
def tree(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"), name)


@cache
def nodes(name: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree(name)))


def each(names: Iterable[str]) -> Callable[[Callable[[str], None]], Callable[[], None]]:
    """One test for all these files: a thousand of them would take longer to be told than to be run."""

    def decorate(check: Callable[[str], None]) -> Callable[[], None]:
        def test() -> None:
            wrong: dict[str, str] = {}
            for name in names:
                try:
                    check(name)
                except AssertionError as problem:
                    wrong[name] = str(problem)
            assert not wrong

        test.__doc__ = check.__doc__
        return test

    return decorate


def imports(found: Iterable[ast.AST]) -> Iterator[str]:
    for node in found:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names)


def top_level(name: str) -> ast.Module:
    """The module without what is inside functions and type-checking blocks."""
    body = [node for node in tree(name).body if isinstance(node, ast.Import | ast.ImportFrom)]
    return ast.Module(body=list(body), type_ignores=[])


def within(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(room + ".") for room in rooms)


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@each(NAMES)
def test_the_arrows_point_one_way(name: str) -> None:
    room = name.split("/")[0]
    allowed = ARROWS[room] + (("bench",) if name == BENCH_DOOR else ())
    wrong = [module for module in imports(nodes(name)) if module.split(".")[0] in ROOMS and not within(module, allowed)]
    assert not wrong


@each([name for name in NAMES if not name.startswith("agent/plugin/")])
def test_imports_are_absolute(name: str) -> None:
    """But for the plugin's: its folder here is not the name by which it is imported."""
    assert not [node for node in nodes(name) if isinstance(node, ast.ImportFrom) and node.level]


def test_the_bench_is_imported_when_it_is_asked_for() -> None:
    assert not [
        module for name in NAMES if not name.startswith("bench/") for module in imports(top_level(name).body) if within(module, ("bench",))
    ]


@each([name for name in NAMES if name.startswith("engines/")])
def test_an_engine_s_library_is_imported_when_the_engine_is_loaded(name: str) -> None:
    assert {module.split(".")[0] for module in imports(top_level(name).body)} <= LIGHT


@each([name for name in NAMES if not name.startswith("bench/")])
def test_livekit_stays_at_its_door(name: str) -> None:
    assert name in LIVEKIT or name.startswith("agent/plugin/") or not any(within(module, ("livekit",)) for module in imports(nodes(name)))


@each(NAMES)
def test_opentelemetry_stays_at_its_door(name: str) -> None:
    assert name == "agent/tracing.py" or not any(within(module, ("opentelemetry",)) for module in imports(nodes(name)))


@each([name for name in NAMES if not name.startswith("bench/")])
def test_threads_live_in_one_file(name: str) -> None:
    makers = {"Thread", "ThreadPoolExecutor", "ProcessPoolExecutor", "to_thread", "run_in_executor", "Timer"}
    calls = {dotted(node.func).rpartition(".")[2] for node in nodes(name) if isinstance(node, ast.Call)}
    assert name in THREADS or not calls & makers


@each(NAMES)
def test_the_environment_is_read_in_one_file(name: str) -> None:
    reads = {dotted(node) for node in nodes(name) if isinstance(node, ast.Attribute)}
    assert name == "agent/config.py" or not reads & {"os.environ", "os.getenv", "os.environb", "os.putenv"}


@each([name for name in NAMES if name.split("/")[0] == "pipeline" and Path(name.split("/")[1]).stem in PURE])
def test_a_pure_core_has_no_clock_no_thread_and_no_loop(name: str) -> None:
    assert not {module.split(".")[0] for module in imports(nodes(name))} & CLOCKS


def test_everything_is_caught_where_a_session_or_a_request_ends() -> None:
    blind = [
        name
        for name in NAMES
        for node in nodes(name)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or dotted(node.type) in ("Exception", "BaseException"))
        and not isinstance(node.body[-1], ast.Raise)
    ]
    # A lane carries an error to whoever waits for the step, as every executor does; the others are the boundary of a session, of a
    # connection, of a request, and of a text among several.
    assert sorted({*blind} - {"pipeline/lanes.py"}) == [
        "agent/gateway/faults.py",
        "agent/gateway/socket/connection.py",
        "agent/gateway/socket/session.py",
        "agent/gateway/synthesis.py",
        "pipeline/stage.py",
    ]


@each(NAMES)
def test_a_module_says_what_it_is(name: str) -> None:
    assert ast.get_docstring(tree(name))


@each([name for name in NAMES if "/__" not in name])
def test_a_module_has_its_tests(name: str) -> None:
    """``pipeline/ingest.py`` has ``tests/pipeline/test_ingest.py``, a door of its own perhaps only ``tests/e2e/test_ingest.py``;
    a package inside a room may have one file for all of it."""
    module = ROOT / "tests" / name
    mirrors = [module.with_name("test_" + module.name), ROOT / "tests" / "e2e" / f"test_{module.name}"]
    if name.count("/") > 1:
        mirrors.append(module.parent.with_name(f"test_{module.parent.name}.py"))
    assert [mirror for mirror in mirrors if mirror.exists()], f"{mirrors[0].relative_to(ROOT)} is missing"


def test_engines_can_be_had_by_name() -> None:
    from engines.base import Engine

    for entry in entry_points(group="voicebooth.engines"):
        kind = entry.load()
        assert issubclass(kind, Engine)
        assert kind.name == entry.name


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("agent.upstream", {"Upstream"}),
        ("agent.config", {"Settings", "SettingsError", "load"}),
        ("engines.base", {"Chunk", "Engine", "EngineError", "Mark", "Pace", "Request", "Voice"}),
        ("pipeline.protocol", {"VERSION", "ProtocolError", "encode", "parse"}),
    ],
)
def test_the_names_that_others_build_on_are_there(module: str, names: set[str]) -> None:
    assert names <= set(vars(importlib.import_module(module)))
