from __future__ import annotations

from collections.abc import Iterable

from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.events import Ack, Event, Failure, Gap, Missing, Progress, Spoken
from pipeline.ingest import Delivered, Ingest, IngestLimits
from pipeline.protocol import SEQ_LIMIT, Text
from tests.examples import examples


def text(seq: int, stream: str = "s") -> Text:
    return Text(text=f"{stream}{seq}", stream=stream, seq=seq)


def given_back(seq: int, stream: str = "s") -> Delivered:
    return Delivered(text(seq, stream))


def test_in_order() -> None:
    ingest = Ingest()
    assert ingest.on_text(text(0), now=0.0) == [given_back(0), Ack("s", 0)]
    assert ingest.on_text(text(1), now=0.0) == [given_back(1), Ack("s", 1)]
    assert ingest.timer() is None


def test_without_numbers_at_once() -> None:
    ingest = Ingest()
    plain = Text(text="hello")
    assert ingest.on_text(plain, now=0.0) == [Delivered(plain)]
    assert ingest.on_text(plain, now=0.0) == [Delivered(plain)]
    assert ingest.progress() == {}


def test_overtaking_costs_nothing() -> None:
    ingest = Ingest()
    assert ingest.on_text(text(2), now=0.0) == []
    assert ingest.on_text(text(1), now=0.1) == []
    assert ingest.on_text(text(0), now=0.2) == [given_back(0), given_back(1), given_back(2), Ack("s", 2)]
    assert ingest.timer() is None


def test_duplicates_are_acknowledged_again() -> None:
    ingest = Ingest()
    ingest.on_text(text(0), now=0.0)
    ingest.on_text(text(2), now=0.0)
    assert ingest.on_text(text(0), now=0.0) == [Ack("s", 0)]
    assert ingest.on_text(text(2), now=0.0) == [Ack("s", 0)]
    assert Ingest().on_text(text(2), now=0.0) == []


def test_nothing_to_acknowledge_yet() -> None:
    ingest = Ingest()
    assert [ingest.on_text(text(1), now=0.0) for _ in range(2)] == [[], []]


def test_a_gap_is_waited_for_then_asked_for_then_skipped() -> None:
    ingest = Ingest()
    ingest.on_text(text(3), now=1.0)
    assert ingest.timer() == 1.3
    assert ingest.on_timer(1.2) == []
    assert ingest.on_timer(1.3) == [Missing("s", 0, 2)]
    assert ingest.on_timer(1.3) == []
    assert ingest.timer() == 2.3
    assert ingest.on_timer(2.3) == [Gap("s", 0, 2), given_back(3), Ack("s", 3), Spoken("s", 2)]
    assert ingest.timer() is None
    assert ingest.on_text(text(1), now=2.4) == [Ack("s", 3)]


def test_gaps_wait_side_by_side() -> None:
    ingest = Ingest(IngestLimits(gap_wait=0.5, ask_wait=2.0))
    ingest.on_text(text(5), now=0.0)
    ingest.on_text(text(7), now=0.1)
    ingest.on_text(text(2), now=0.2)
    assert ingest.on_timer(0.6) == [Missing("s", 0, 1), Missing("s", 3, 4), Missing("s", 6, 6)]
    assert ingest.on_text(text(6), now=0.7) == []
    assert ingest.on_text(text(4), now=0.7) == []
    skipped = [Gap("s", 0, 1), given_back(2), Ack("s", 2), Spoken("s", 1), Gap("s", 3, 3), *map(given_back, (4, 5, 6, 7)), Ack("s", 7)]
    assert ingest.on_timer(2.6) == skipped


def test_streams_do_not_wait_for_each_other() -> None:
    ingest = Ingest()
    ingest.on_text(text(1, "a"), now=0.0)
    assert ingest.on_text(text(0, "b"), now=0.0) == [given_back(0, "b"), Ack("b", 0)]
    assert ingest.progress() == {"a": Progress(-1, -1), "b": Progress(0, -1)}


def test_spoken_is_the_highest_without_a_gap() -> None:
    ingest = Ingest()
    for seq in range(3):
        ingest.on_text(text(seq), now=0.0)
    assert ingest.on_done("s", 1) == []
    assert ingest.on_done("s", 0) == [Spoken("s", 1)]
    assert ingest.on_done("s", 0) == []
    assert ingest.progress() == {"s": Progress(held=2, spoken=1)}
    assert ingest.on_done("other", 0) == []


def test_a_refused_message_leaves_no_gap() -> None:
    ingest = Ingest()
    assert ingest.on_refused("s", 1, now=0.0) == []
    assert ingest.on_text(text(0), now=0.0) == [given_back(0), Ack("s", 1)]
    assert ingest.on_done("s", 0) == [Spoken("s", 1)]
    assert ingest.on_refused("s", 2, now=0.0) == [Ack("s", 2), Spoken("s", 2)]
    assert ingest.on_refused("s", SEQ_LIMIT, now=0.0) == []


def test_a_number_too_far_ahead_is_refused() -> None:
    ingest = Ingest(IngestLimits(ahead=10))
    for seq in (11, SEQ_LIMIT - 1):
        [failure] = ingest.on_text(text(seq), now=0.0)
        assert isinstance(failure, Failure)
        assert (failure.code, failure.stream, failure.seq) == ("seq_too_far", "s", seq)
    assert ingest.progress() == {} and ingest.timer() is None
    assert ingest.on_text(text(10), now=0.0) == []


def test_with_too_many_held_the_first_gap_is_not_waited_for() -> None:
    ingest = Ingest(IngestLimits(held=3))
    for seq in (1, 2, 4):
        assert ingest.on_text(text(seq), now=0.0) == []
    assert ingest.on_text(text(6), now=0.0) == [Gap("s", 0, 0), given_back(1), given_back(2), Ack("s", 2), Spoken("s", 0)]
    assert ingest.on_text(text(3), now=0.0) == [given_back(3), given_back(4), Ack("s", 4)]


def test_the_oldest_idle_stream_makes_room() -> None:
    ingest = Ingest(IngestLimits(streams=2))
    for stream in "ab":
        ingest.on_text(text(0, stream), now=0.0)
    [failure] = ingest.on_text(text(0, "c"), now=0.0)
    assert isinstance(failure, Failure) and failure.code == "too_many_streams" and failure.retryable
    ingest.on_done("b", 0)
    assert ingest.on_text(text(0, "c"), now=0.0) == [given_back(0, "c"), Ack("c", 0)]
    assert set(ingest.progress()) == {"a", "c"}


def test_the_stream_used_last_is_kept_longest() -> None:
    ingest = Ingest(IngestLimits(streams=2))
    for stream in "ab":
        ingest.on_text(text(0, stream), now=0.0)
        ingest.on_done(stream, 0)
    ingest.on_text(text(0, "a"), now=0.0)
    ingest.on_text(text(0, "c"), now=0.0)
    assert set(ingest.progress()) == {"a", "c"}


def test_a_stream_that_waits_for_a_gap_is_not_idle() -> None:
    ingest = Ingest(IngestLimits(streams=1))
    ingest.on_text(text(1, "a"), now=0.0)
    [failure] = ingest.on_text(text(0, "b"), now=0.0)
    assert isinstance(failure, Failure) and failure.code == "too_many_streams"


class Sender:
    """Sends ``count`` texts a stream, answers ``missing`` if it ``answers``, and checks what comes back."""

    def __init__(self, counts: dict[str, int], *, answers: bool, limits: IngestLimits) -> None:
        self.counts, self.answers, self.limits = counts, answers, limits
        self.ingest = Ingest(limits)
        self.now = 0.0
        self.told: dict[str, list[int]] = {stream: [] for stream in counts}  # delivered, skipped or refused, in order
        self.owed: dict[str, list[int]] = {stream: [] for stream in counts}
        self.acked = dict.fromkeys(counts, -1)
        self.spoken = dict.fromkeys(counts, -1)
        self.sent: set[tuple[str, int]] = set()
        self.refused: set[tuple[str, int]] = set()
        self.asked: set[tuple[str, int]] = set()

    def send(self, stream: str, seq: int, *, spoilt: bool = False) -> None:
        self.sent.add((stream, seq))
        if spoilt:
            self.refused.add((stream, seq))
            self.check(self.ingest.on_refused(stream, seq, now=self.now))
        else:
            self.check(self.ingest.on_text(text(seq, stream), now=self.now))

    def tick(self, delay: float) -> None:
        until = self.now + delay
        while (due := self.ingest.timer()) is not None and due <= until:
            self.now = max(self.now, due)
            self.check(self.ingest.on_timer(self.now))
        self.now = until

    def done(self, stream: str, at: int) -> None:
        if self.owed[stream]:
            self.check(self.ingest.on_done(stream, self.owed[stream].pop(at % len(self.owed[stream]))))

    def reconnect(self) -> None:
        """Send again what may not be forgotten yet."""
        for stream, progress in self.ingest.progress().items():
            for seq in range(progress.spoken + 1, self.counts[stream]):
                if (stream, seq) in self.sent:
                    self.send(stream, seq)

    def check(self, found: Iterable[Delivered | Event]) -> None:
        resend: list[tuple[str, int]] = []
        for event in found:
            match event:
                case Delivered(Text(stream=str(stream), seq=int(seq))):
                    self.pass_over(stream, seq)
                    self.told[stream].append(seq)
                    self.owed[stream].append(seq)
                case Gap(stream, first, last):
                    self.pass_over(stream, first)
                    self.told[stream] += range(first, last + 1)
                case Missing(stream, first, last):
                    wanted = {(stream, seq) for seq in range(first, last + 1)}
                    assert not wanted & self.asked, "asked for twice"
                    self.asked |= wanted
                    resend += sorted(wanted)
                case Ack(stream, seq):
                    assert seq >= self.acked[stream]
                    self.acked[stream] = seq
                    self.pass_over(stream, seq + 1)
                case Spoken(stream, seq):
                    assert seq > self.spoken[stream]
                    self.spoken[stream] = seq
                    assert all(owed > seq for owed in self.owed[stream])
                case _:
                    raise AssertionError(event)
        for stream in self.ingest._streams.values():
            assert len(stream.held) <= self.limits.held
            assert len(stream.holes) <= len(stream.held)
        if self.answers:
            for stream_name, seq in resend:
                self.send(stream_name, seq)

    def pass_over(self, stream: str, seq: int) -> None:
        """Everything before ``seq`` has been delivered, skipped or refused."""
        while len(self.told[stream]) < seq:
            assert (stream, len(self.told[stream])) in self.refused
            self.told[stream].append(len(self.told[stream]))
        assert len(self.told[stream]) == seq, "twice, or out of order"


STREAMS = {"a": 12, "b": 5}
ACTIONS = st.one_of(
    st.tuples(st.just("send"), st.sampled_from("ab"), st.integers(0, 11)),
    st.tuples(st.just("send"), st.just("a"), st.integers(0, 11)),
    st.tuples(st.just("spoil"), st.sampled_from("ab"), st.integers(0, 11)),
    st.tuples(st.just("done"), st.sampled_from("ab"), st.integers(0, 11)),
    st.tuples(st.just("tick"), st.just(""), st.sampled_from([0.1, 0.3, 0.7, 2.0])),
    st.tuples(st.just("reconnect"), st.just(""), st.just(0)),
)


@examples(80)
@given(st.lists(ACTIONS, max_size=40), st.booleans(), st.sampled_from([2, 4, 256]))
@example([("send", "a", 11), ("tick", "", 2.0), ("reconnect", "", 0)], True, 2)
def test_each_comes_out_once_and_in_order_or_is_told(actions: list[tuple[str, str, float]], answers: bool, held: int) -> None:
    sender = Sender(STREAMS, answers=answers, limits=IngestLimits(held=held))
    for kind, stream, number in actions:
        match kind:
            case "send" | "spoil":
                sender.send(stream, int(number) % STREAMS[stream], spoilt=kind == "spoil")
            case "done":
                sender.done(stream, int(number))
            case "tick":
                sender.tick(number)
            case "reconnect":
                sender.reconnect()
    sender.tick(10.0)
    assert sender.ingest.timer() is None
    for stream in STREAMS:
        while sender.owed[stream]:
            sender.done(stream, 0)
        reached = max((seq for name, seq in sender.sent if name == stream), default=-1)
        assert sender.acked[stream] == sender.spoken[stream] == reached
        sender.pass_over(stream, reached + 1)


@examples(25)
@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 29) | st.integers(0, SEQ_LIMIT - 1)), max_size=40))
def test_what_is_kept_is_bounded_whatever_the_numbers(numbers: list[tuple[str, int]]) -> None:
    limits = IngestLimits(ahead=20, held=4, streams=3)
    ingest = Ingest(limits)
    for stream, seq in numbers:
        ingest.on_text(text(seq, stream), now=0.0)
    assert len(ingest.progress()) <= limits.streams
    assert all(len(stream.held) <= limits.held and stream.end <= stream.next + limits.ahead + 1 for stream in ingest._streams.values())
