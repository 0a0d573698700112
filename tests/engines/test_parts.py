"""What two engines keep of their models, and what two processes make of it at once."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from engines import vits
from engines.catalog import made_of
from engines.kokoro import cut
from engines.parts import SIZES, find_whole, stamp

DIGEST = "0" * 64
NAMES = {"kokoro": f"{made_of(DIGEST)}-float32-frozen-{cut.FORMAT}", "piper": f"{DIGEST[:32]}-{vits.FORMAT}"}

AT_ONCE = """
import subprocess, sys, time
from pathlib import Path
from types import SimpleNamespace

from engines import parts, vits
from engines.kokoro import files

engine, name, other, cache, broken = *sys.argv[1:4], Path(sys.argv[4]), eval(sys.argv[5])
is_whole = parts._is_whole


def wait(sign, limit):
    until = time.monotonic() + limit
    while not (cache.parent / sign).exists() and time.monotonic() < until:
        time.sleep(0.01)


def run(command, **more):
    for part in ("front.onnx", "plan.json"):
        Path(command[4], part).write_text(name * 1000)
    (cache.parent / f"{name} has cut").touch()
    wait(f"{other} has cut", 30)
    if name == "quick":
        wait("slow has looked", 1.0)
    return SimpleNamespace(returncode=0, stderr="")


def look(folder):
    found = is_whole(folder)
    if name == "slow" and (cache.parent / "slow has cut").exists():
        (cache.parent / "slow has looked").touch()
        wait("quick is done", 1.0)  # the worst moment: between looking at the folder and doing something about it
    return found


files.subprocess = vits.subprocess = SimpleNamespace(run=run, TimeoutExpired=subprocess.TimeoutExpired)
parts._is_whole = look
if engine == "kokoro":
    folder = files.find_parts(Path("m.onnx"), "0" * 64, "float32", "frozen", cache)
else:
    folder = vits.find_parts(Path("m.onnx"), "0" * 64, cache, broken)
(cache.parent / f"{name} is done").touch()
opened = set()
for _ in range(150):
    opened.add((folder / "plan.json").read_text() + (folder / "front.onnx").read_text())
    time.sleep(0.01)
assert len(opened) == 1 and opened <= {who * 2000 for who in (name, other)}, opened
"""


def lay(folder, there):
    """What an earlier process left."""
    if there == "nothing":
        return
    folder.mkdir(parents=True)
    size = 7 if there == "parts that cannot be opened" else 10
    (folder / "front.onnx").write_text("damaged")
    if there != "parts without a plan":
        (folder / "plan.json").write_text("plan")
    (folder / SIZES).write_text(json.dumps({"front.onnx": size, "plan.json": 4}))


@pytest.mark.shell
@pytest.mark.parametrize(
    ("engine", "there"),
    [
        *((engine, there) for engine in NAMES for there in ("nothing", "damaged parts", "parts without a plan")),
        ("piper", "parts that cannot be opened"),
    ],
)
def test_two_processes_that_cut_at_once_find_whole_parts(tmp_path, engine, there):
    cache = tmp_path / "cache"
    folder = cache / NAMES[engine]
    lay(folder, there)
    broken = stamp(folder) if there == "parts that cannot be opened" else None
    names = ("slow", "quick")
    running = [
        subprocess.Popen([sys.executable, "-c", AT_ONCE, engine, *order, str(cache), str(broken)], stderr=subprocess.PIPE, text=True)
        for order in (names, names[::-1])
    ]
    told = [process.communicate(timeout=60)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], told
    assert [path.name for path in cache.iterdir() if not path.name.startswith(".")] == [folder.name]


@pytest.fixture
def make(tmp_path):
    """Finds the parts, and says how often they have been cut."""
    cuts = []

    def write(folder):
        cuts.append(folder)
        (folder / "front.onnx").write_text("front")
        (folder / "plan.json").write_text("plan")

    def make(broken=None):
        return find_whole(tmp_path / "cache" / "parts", "plan.json", write, broken), len(cuts)

    return make


def test_whole_parts_are_left_alone_and_those_that_cannot_be_opened_are_made_again(make):
    folder, cuts = make()
    first = stamp(folder)
    assert make() == (folder, cuts) == (folder, 1) and stamp(folder) == first
    assert make(first) == (folder, 2)
    assert stamp(folder) != first
    assert make(first) == (folder, 2)  # another one has seen to it


def test_what_cannot_be_cut_leaves_nothing(tmp_path):
    def fail(folder):
        (folder / "front.onnx").touch()
        raise ValueError("no graph")

    with pytest.raises(ValueError, match="no graph"):
        find_whole(tmp_path / "cache" / "parts", "plan.json", fail)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_folder_that_is_gone_has_no_stamp(tmp_path):
    assert stamp(tmp_path / "none") is None
