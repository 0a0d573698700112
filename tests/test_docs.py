"""The pages say what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from pipeline import events, protocol
from pipeline.events import DropReason, Event

ROOT = Path(__file__).parent.parent
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
MESSAGES = [kind for kind in get_args(protocol.AnyMessage)]
EVENTS = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("kind", MESSAGES)
def test_every_message_and_its_fields_are_explained(kind: type[protocol.Message]) -> None:
    name = kind.model_fields["type"].default
    assert f"`{name}`" in PROTOCOL
    assert not [field for field in kind.model_fields if field != "type" and f"`{field}`" not in PROTOCOL]


@pytest.mark.parametrize("kind", EVENTS)
def test_every_event_is_explained(kind: type[Event]) -> None:
    assert f"`{kind.type}`" in PROTOCOL


def test_every_reason_and_every_error_code_is_explained() -> None:
    sources = [path.read_text(encoding="utf-8") for room in ("agent", "pipeline") for path in (ROOT / room).rglob("*.py")]
    codes = {code for text in sources for code in re.findall(r'(?:Failure|ProtocolError)\(\s*(?:code=)?"([a-z_]+)"', text)}
    assert {"bad_json", "forbidden"} <= codes
    assert not [word for word in codes | set(get_args(DropReason)) if f"`{word}`" not in PROTOCOL]


def test_the_examples_are_messages() -> None:
    lines = [line for line in PROTOCOL.splitlines() if line.startswith(("→ {", "← {"))]
    sent = [line[2:] for line in lines if line.startswith("→")]
    assert sent
    assert all(protocol.parse(line.encode()) for line in sent)
    known = {kind.type for kind in EVENTS}
    assert {json.loads(line[2:])["type"] for line in lines if line.startswith("←")} <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    broken = [link for link in re.findall(r"\]\(([^)#\s]+)\)", text) if "://" not in link and not (page.parent / link).exists()]
    assert not broken


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for page in PAGES for target in re.findall(r"(?:`|^)make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE)}
    assert named <= targets


def test_the_gates_of_a_voice_s_statistics_are_those_that_are_explained() -> None:
    from bench.voices import LEVEL, SEAMS, WORDS, WORSE
    from engines.kokoro.calibrate import CHECKS, MOST_DISTANCE, MOST_LEVEL

    page = " ".join((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split())
    assert {len(texts) for texts in CHECKS.values()} == {2} and "of two sentences" in page
    assert f"level within {MOST_LEVEL:g} dB and spectra within {MOST_DISTANCE:g} dB" in page
    assert WORDS == 1 / 100 and f"DNSMOS at most {WORSE:g} lower, level within {LEVEL:g} dB, steps at seams at most {SEAMS:g} times" in page
