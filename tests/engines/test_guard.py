"""What somebody else's engine may do wrong, and that it becomes an error of ours which says so."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np
import pytest

from engines.base import BadSound, Chunk, Engine, EngineError, EngineUnavailable, Mark, Pace, Request, SynthesisFailed, UnknownVoice, Voice
from engines.guard import Guarded
from engines.tone import ToneEngine

TEXT = "One two."
SOUND = np.ones(100, dtype=np.int16)


class Foreign(ToneEngine):
    """Does what a test wants it to do."""

    name = "foreign"

    def __init__(self, steps: Callable[[], Any] | None = None, **parts: Any) -> None:
        super().__init__()
        self.steps = steps
        self.parts = parts
        self.closed = False

    def missing(self) -> str:
        self._act("missing")
        return "pip install foreign"

    def load(self) -> None:
        self._act("load")

    def unload(self) -> None:
        self._act("unload")

    @property
    def build(self) -> str:
        self._act("build")
        return "foreign-1"

    def voices(self) -> tuple[Voice, ...]:
        self._act("voices")
        return self.parts.get("listed", (Voice("anna", "foreign", "en", 24_000),))

    def synthesize(self, request: Request, pace: Pace) -> Any:
        return self.steps() if self.steps else iter(())

    def _act(self, part: str) -> None:
        if part in self.parts:
            raise self.parts[part]


def guarded(steps: Callable[[], Any] | None = None, **parts: Any) -> Guarded:
    made = Guarded(Foreign(steps, **parts))
    made.load()
    return made


def speak(steps: Callable[[], Any]) -> list[Chunk]:
    return list(guarded(steps).synthesize(Request(TEXT), Pace()))


def giving(*chunks: Any) -> Callable[[], Iterator[Any]]:
    return lambda: iter(chunks)


def test_what_is_as_it_should_be_passes() -> None:
    tone = ToneEngine()
    made = Guarded(tone)
    assert (made.name, made.network, made.build, made.voices()) == ("tone", False, tone.build, ())
    made.load()
    assert made.voices() == tone.voices()
    theirs, ours = (list(engine.synthesize(Request(TEXT), Pace(1.0))) for engine in (tone, made))
    assert [chunk.marks for chunk in ours] == [chunk.marks for chunk in theirs]
    assert all(np.array_equal(one.samples, other.samples) for one, other in zip(ours, theirs, strict=True))
    made.unload()
    assert made.voices() == tone.voices() == ()


@pytest.mark.parametrize("part", ["load", "voices"])
@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), KeyError("weights"), MemoryError()])
def test_what_it_raises_while_it_is_loaded_makes_it_unavailable(part: str, error: Exception) -> None:
    with pytest.raises(EngineUnavailable, match=f"engine foreign raised {type(error).__name__}") as caught:
        guarded(**{part: error})
    assert caught.value.__cause__ is error


def test_errors_of_ours_pass_as_they_are() -> None:
    wanted = EngineUnavailable("no weights", remedy="get some")
    with pytest.raises(EngineUnavailable) as caught:
        guarded(load=wanted)
    assert caught.value is wanted

    def unknown() -> Iterator[Chunk]:
        raise UnknownVoice("nobody")
        yield

    with pytest.raises(UnknownVoice, match="nobody"):
        speak(unknown)


def test_the_rest_of_its_methods_is_guarded_too() -> None:
    with pytest.raises(SynthesisFailed, match="RuntimeError"):
        _ = guarded(build=RuntimeError()).build
    made = guarded(unload=RuntimeError())
    with pytest.raises(EngineUnavailable, match="RuntimeError"):
        made.unload()
    assert made.voices() == ()


ANNA = Voice("anna", "foreign", "en", 24_000)


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        (("anna",), "a voice is str"),
        ((ANNA, ANNA), "the same id"),
        ((Voice("", "foreign", "en", 24_000),), "no id or no language"),
        ((Voice("anna", "foreign", "", 24_000),), "no id or no language"),
        ((Voice("anna", "other", "en", 24_000),), "belongs to engine 'other'"),
        ((Voice("anna", "foreign", "en", 0),), "0 samples a second"),
        ((Voice("anna", "foreign", "en", 24_000.0),), r"24000\.0 samples"),  # type: ignore[arg-type]
        (None, "TypeError"),
    ],
)
def test_voices_that_cannot_be_are_told(listed: Any, told: str) -> None:
    with pytest.raises(EngineUnavailable, match=told):
        guarded(listed=listed)


def at_once() -> Any:
    raise ValueError("before any step")


def in_a_step() -> Iterator[Chunk]:
    yield Chunk(SOUND)
    raise ZeroDivisionError("inside")


@pytest.mark.parametrize(
    ("steps", "told"), [(at_once, "ValueError: before any step"), (in_a_step, "ZeroDivisionError"), (lambda: 3, "TypeError")]
)
def test_what_it_raises_in_a_step_is_a_sentence_that_failed(steps: Callable[[], Any], told: str) -> None:
    with pytest.raises(SynthesisFailed, match=f"engine foreign raised .*{told}"):
        speak(steps)


@pytest.mark.parametrize(
    ("chunk", "told"),
    [
        (None, "a step gave NoneType"),
        (b"\0\0", "a step gave bytes"),
        (SOUND, "a step gave ndarray"),
        (Chunk(b"\0\0"), "samples are bytes"),  # type: ignore[arg-type]
        (Chunk([0, 1]), "samples are list"),  # type: ignore[arg-type]
        (Chunk(np.zeros(9, np.float32)), r"samples are float32, not int16 \(times 32767"),  # type: ignore[arg-type]
        (Chunk(np.zeros(9, ">i2")), "samples are >i2"),
        (Chunk(np.zeros((9, 2), np.int16)), r"shape \(9, 2\)"),
        (Chunk(np.zeros((1, 9), np.int16)), r"shape \(1, 9\)"),
        (Chunk(np.array(3, np.int16)), r"shape \(\)"),
        (Chunk(SOUND, None), "marks are NoneType"),  # type: ignore[arg-type]
        (Chunk(SOUND, ((0, 3, 0),)), "a mark is"),  # type: ignore[arg-type]
        (Chunk(SOUND, (Mark(0, 3, 0.5, True),)), "a mark is"),  # type: ignore[arg-type]
        (Chunk(SOUND, (Mark(0, 99, 0, True),)), "characters 0 to 99 of 8"),
        (Chunk(SOUND, (Mark(3, 3, 0, True),)), "characters 3 to 3"),
        (Chunk(SOUND, (Mark(-1, 3, 0, True),)), "characters -1"),
    ],
)
def test_chunks_that_cannot_be_are_told(chunk: Any, told: str) -> None:
    with pytest.raises(BadSound, match=told):
        speak(giving(chunk))


def test_a_mark_in_the_past_is_told() -> None:
    with pytest.raises(BadSound, match="sample 10, and 100"):
        speak(giving(Chunk(SOUND), Chunk(SOUND, (Mark(0, 3, 10, True),))))


def test_numbers_of_numpy_become_plain_ones() -> None:
    (chunk,) = speak(giving(Chunk(SOUND, (Mark(np.int64(0), np.int32(3), np.int64(5), np.True_),))))  # type: ignore[arg-type]
    assert [type(number) for number in (chunk.marks[0].start, chunk.marks[0].sample, chunk.marks[0].exact)] == [int, int, bool]


def test_an_abandoned_sentence_is_closed_inside_as_well() -> None:
    closed = []

    def endless() -> Generator[Chunk, None, None]:
        try:
            while True:
                yield Chunk(SOUND)
        finally:
            closed.append(True)

    steps = guarded(endless).synthesize(Request(TEXT), Pace())
    next(steps)
    steps.close()
    assert closed == [True]


def test_one_that_does_not_let_itself_be_closed_is_told() -> None:
    def stubborn() -> Generator[Chunk, None, None]:
        try:
            yield Chunk(SOUND)
        finally:
            yield Chunk(SOUND)

    steps = guarded(stubborn).synthesize(Request(TEXT), Pace())
    next(steps)
    with pytest.raises(SynthesisFailed, match="RuntimeError"):
        steps.close()


def test_nothing_is_done_before_the_first_step() -> None:
    begun = []
    guarded(lambda: begun.append(True)).synthesize(Request(TEXT), Pace()).close()
    assert not begun


def test_what_it_lacks_is_what_it_says() -> None:
    assert Guarded(Foreign()).missing() == "pip install foreign"
    with pytest.raises(EngineUnavailable, match="KeyError"):
        Guarded(Foreign(missing=KeyError("no"))).missing()


def test_it_is_an_engine_with_its_own_lanes() -> None:
    assert issubclass(Guarded, Engine)
    foreign = Foreign()
    foreign.network, foreign.comfort, foreign.cores = True, 30, 2.0
    guarded = Guarded(foreign)
    guarded.load()
    assert guarded.network and guarded.comfort == 30 and guarded.cores == 2
    assert issubclass(BadSound, EngineError)
