"""One place where text is spoken - a room, a socket, a peer: its senders, its speakers, and the events that go back."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Protocol

from pydantic import Field

from pipeline.chain import primary
from pipeline.events import Backlog, Complete, Dropped, Event, Failure, LevelChanged, Pong, Ready
from pipeline.ingest import Delivered, Ingest, IngestLimits
from pipeline.journey import NOWHERE, Origin
from pipeline.playout import PlayoutBuffer
from pipeline.protocol import VERSION, AnyMessage, Cancel, Config, End, Flush, Hello, Ping, ProtocolError, Text
from pipeline.report import Report
from pipeline.script import Outcome, Script, ScriptLimits, Wish
from pipeline.segmenter import SegmenterSettings
from pipeline.speaker import Caption, Speaker, SpeakerSettings, TrackKey
from pipeline.studio import Studio

__all__ = ["Caption", "Outlet", "Stage", "StageSettings", "TrackKey"]

log = logging.getLogger(__name__)

SENDERS = 256  # whose order and progress are remembered; of those that have nothing waiting the quietest is forgotten first
BACKLOG_EVERY = 1.0  # seconds between two `backlog` events at the least
BACKLOG_STEP = 0.5  # seconds of speech: a smaller change is not told
IDLE_LOOK = 0.1  # seconds between two looks whether a drain is over
RESTART = 1.0  # seconds before a speaker that failed starts again: a fault that stays must not spin
BOOTH = "booth"  # the speaker when none is named


@dataclass(frozen=True, slots=True)
class StageSettings:
    """What one place may hold, and how it speaks."""

    languages: tuple[str, ...] = ("en",)
    """Whose tracks are there from the beginning; the first is the default. BCP 47 tags."""
    tracks: Annotated[int, Field(ge=1, le=256)] = 16
    """Voices that may be heard at once in one place: each costs a track, a buffer and a listener's attention."""
    speaker: SpeakerSettings = field(default_factory=SpeakerSettings)
    script: ScriptLimits = field(default_factory=ScriptLimits)
    ingest: IngestLimits = field(default_factory=IngestLimits)
    segmenter: SegmenterSettings = field(default_factory=SegmenterSettings)
    allow: Callable[[str], str | None] = str
    """Gives what may be said of a sentence; None: nothing of it."""
    is_engine: Callable[[str], bool] = lambda name: False
    """Whether an engine of that name may be wished for though it is not here: somebody else speaks then."""


class Outlet(Protocol):
    """The door's side of a stage. Called on the node's loop, must not block."""

    def open_track(self, key: TrackKey, buffer: PlayoutBuffer) -> None:
        """Publish a track and pump it from the buffer, until the stage is closed."""

    def send(self, sender: str | None, event: Event) -> None:
        """``sender`` None: to everybody."""

    def caption(self, caption: Caption) -> None: ...


class _Sender:
    """What is known of one sender: its order, and the defaults that it set."""

    def __init__(self, limits: IngestLimits) -> None:
        self.ingest = Ingest(limits)
        self.config = Config()
        self.is_ending = False
        self.backlog = 0.0
        self.timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


class Stage:
    """Takes messages, gives events. All of it on the node's loop.

    1. What is accepted is spoken, or its sender is told why not.
    2. A speaker that fails says so and speaks on; no sender can stop another's.
    """

    def __init__(
        self,
        name: str,
        studio: Studio,
        settings: StageSettings,
        outlet: Outlet,
        *,
        node: str = "voicebooth",
        report: Report,
        origin: Origin = NOWHERE,
    ) -> None:
        """``origin``: of all that is said here; a text may name a trace of its own."""
        self.name = name
        self.outlet = outlet
        """Where tracks and events go; a door that comes back for a living stage sets its own."""
        self._studio = studio
        self._settings = settings
        self._node = node
        self._report = report
        self._origin = origin
        self._loop = asyncio.get_running_loop()
        self._senders: OrderedDict[str, _Sender] = OrderedDict()
        self._speakers: dict[TrackKey, Speaker] = {}
        self._unheard: set[TrackKey] = set()  # tracks that could not be published: nobody takes what is said there
        self._running: list[asyncio.Task[None]] = []
        self._level = studio.level()[0]
        self._is_draining = False
        self._is_frozen = False
        self._backlog_timer: asyncio.TimerHandle | None = None

    # For the door

    def open(self) -> None:
        """Open the tracks that are there from the beginning."""
        for language in self._settings.languages:
            self._speaker(TrackKey(BOOTH, language))

    def attach(self, outlet: Outlet) -> None:
        """A new link to the same place: its tracks are opened again, and it goes on where it was."""
        self.outlet = outlet
        self._unheard.clear()
        for key, speaker in self._speakers.items():
            outlet.open_track(key, speaker.buffer)

    def on_message(self, sender: str, message: AnyMessage) -> None:
        known = self._sender(sender)
        if known is None:
            numbered = (message.stream, message.seq) if isinstance(message, Text) else (None, None)
            words = f"{SENDERS} senders have text waiting here: send it again later"
            self.outlet.send(sender, Failure("too_many_senders", words, True, *numbered))
            return
        match message:
            case Text():
                self._on_text(sender, known, message)
            case Hello():
                self._on_hello(sender, known)
            case Config():
                self._on_config(sender, known, message)
            case Flush():
                self._apply(lambda script, now: script.on_flush(sender, message.utterance, now=now))
            case Cancel():
                self._apply(lambda script, now: script.on_cancel(sender, message.utterance, now=now))
            case Ping():
                self.outlet.send(sender, Pong(message.t))
            case End():
                known.is_ending = True
                self._apply(lambda script, now: script.on_end(sender, now))
                self._tell_complete(sender, known)

    def on_refused(self, sender: str, error: ProtocolError) -> None:
        """A message that could not be taken: its sender is told, and its number leaves no gap."""
        known = self._sender(sender)
        self.outlet.send(sender, error.event)
        stream, seq = error.event.stream, error.event.seq
        if known is not None and stream is not None and seq is not None:
            self._deliver(sender, known, known.ingest.on_refused(stream, seq, now=self._loop.time()))
            self._on_done(sender, stream, seq)

    def on_aborted(self, sender: str, utterance: str) -> None:
        """A text stream was broken off."""
        self._apply(lambda script, now: script.on_aborted(sender, utterance, now=now))

    def on_track_failed(self, key: TrackKey) -> None:
        """It cannot be published: what waits for it, and what comes, is not heard."""
        speaker = self._speakers.get(key)
        if speaker is not None:
            self._unheard.add(key)
            speaker.close("unheard")

    def on_track_opened(self, key: TrackKey) -> None:
        """It could be published after all."""
        self._unheard.discard(key)

    def on_encoded(self, key: TrackKey, sentence: str, begin: float, end: float) -> None:
        """A piece of that sentence's sound has been encoded, from then to then."""
        self._speakers[key].on_encoded(sentence, begin, end)

    def look_at_level(self) -> None:
        """Tell every sender how degraded the node is, when that has changed."""
        level, why = self._studio.level()
        if level != self._level:
            self._level = level
            for sender in self._senders:
                self.outlet.send(sender, LevelChanged(level, why))

    def freeze(self) -> None:
        """The connection is lost: nothing is heard, nothing is lost."""
        self._is_frozen = True
        for speaker in self._speakers.values():
            speaker.freeze()

    def thaw(self) -> None:
        """It is back: what was cut off is said again from the start of its sentence."""
        self._is_frozen = False
        for speaker in self._speakers.values():
            speaker.thaw()

    @property
    def waiting_characters(self) -> int:
        """Accepted, and not begun to be made: on the fullest track."""
        return max((speaker.waiting_characters for speaker in self._speakers.values()), default=0)

    @property
    def is_idle(self) -> bool:
        return all(speaker.is_idle for speaker in self._speakers.values())

    async def drain(self) -> None:
        """Refuse new text; return when everything accepted has been heard or reported. Ends only if time passes in the room."""
        self._is_draining = True
        while not self.is_idle:  # noqa: ASYNC110 - idleness is made of many scripts and tracks; a look is cheaper than telling
            await asyncio.sleep(IDLE_LOOK)

    async def aclose(self) -> None:
        """Silence; what was not heard is reported."""
        self._is_draining = True
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for speaker in self._speakers.values():
            speaker.close("shutdown")
        for known in self._senders.values():
            known.close()
        if self._backlog_timer is not None:
            self._backlog_timer.cancel()

    # For the speakers

    def tell(self, sender: str, event: Event) -> None:
        self.outlet.send(sender, event)
        known = self._senders.get(sender)
        if known is not None and known.is_ending:
            self._loop.call_soon(self._tell_complete, sender, known)  # after whatever else the script has decided

    def done(self, sender: str, stream: str, seq: int) -> None:
        self._on_done(sender, stream, seq)

    def caption(self, caption: Caption) -> None:
        self.outlet.caption(caption)

    # Messages

    def _on_hello(self, sender: str, known: _Sender) -> None:
        self.look_at_level()
        languages = dict.fromkeys((*self._settings.languages, *self._studio.languages()))
        voices = tuple(voice.id for offered in self._studio.offers.values() for voice in offered)
        self.outlet.send(sender, Ready(VERSION, self._node, tuple(languages), voices, known.ingest.progress(), self._level))

    def _on_config(self, sender: str, known: _Sender, message: Config) -> None:
        failure = self._find_fault(message.language, message.voice) or self._find_engine_fault(known, message)
        if failure is not None:
            self.outlet.send(sender, failure)
            return
        known.config = known.config.model_copy(update=message.model_dump(exclude_unset=True, exclude={"type", "audio"}))

    def _on_text(self, sender: str, known: _Sender, text: Text) -> None:
        if self._is_draining:
            self.outlet.send(sender, Failure("draining", "this node is about to end and takes no more text", True, text.stream, text.seq))
            return
        self._deliver(sender, known, known.ingest.on_text(text, now=self._loop.time()))

    def _deliver(self, sender: str, known: _Sender, found: Sequence[Delivered | Event]) -> None:
        for item in found:
            if not isinstance(item, Delivered):
                self.outlet.send(sender, item)
        for item in found:
            if isinstance(item, Delivered):  # after the events, or one that is refused at once would be told before them as spoken
                self._say(sender, known, item.text)
        self._arm(sender, known)

    def _arm(self, sender: str, known: _Sender) -> None:
        known.close()
        due = known.ingest.timer()
        if due is not None:
            known.timer = self._loop.call_at(due, lambda: self._deliver(sender, known, known.ingest.on_timer(self._loop.time())))

    def _say(self, sender: str, known: _Sender, text: Text) -> None:
        config = known.config
        budget = text.budget_ms or config.budget_ms
        wish = Wish(
            language=text.language or config.language or self._settings.languages[0],
            speaker=text.speaker or BOOTH,
            voice=text.voice or config.voice or "",
            engine=config.engine or "",
            is_strict=bool(config.engine and config.strict_engine),
            strategy=config.strategy or "",
            budget=None if budget is None else budget / 1000,
            speed=text.speed or config.speed or 1.0,
            use_cache=config.use_cache is not False,
            origin=replace(self._origin, traceparent=text.traceparent) if text.traceparent else self._origin,
        )
        failure = self._find_fault(text.language, text.voice)
        speaker = None if failure else self._speaker(TrackKey(wish.speaker, wish.language))
        if speaker is None:
            failure = failure or Failure("too_many_tracks", f"at most {self._settings.tracks} voices may be heard here at once")
            self.outlet.send(sender, replace(failure, stream=text.stream, seq=text.seq))
            if text.stream is not None and text.seq is not None:
                self._on_done(sender, text.stream, text.seq)
            return
        if speaker.key in self._unheard:
            self.outlet.send(sender, Dropped(text.utterance or "", text.text, "unheard"))
            if text.stream is not None and text.seq is not None:
                self._on_done(sender, text.stream, text.seq)
            return
        speaker.apply(lambda script, now: script.on_text(sender, text, wish, now=now))
        self._watch_backlog()

    def _find_engine_fault(self, known: _Sender, message: Config) -> Failure | None:
        """Nobody knows that engine; or it alone may speak, and it is not here."""
        names = [status.name for status in self._studio.status]
        config = message if "strict_engine" in message.model_fields_set else known.config
        if message.engine is None or message.engine in names or (not config.strict_engine and self._settings.is_engine(message.engine)):
            return None
        return Failure("unknown_engine", f"engine: there is no {message.engine!r}; there are: {', '.join(names)}", field="engine")

    def _find_fault(self, language: str | None, voice: str | None) -> Failure | None:
        if language is not None and not self._studio.speaks(language):
            known = ", ".join(self._studio.languages()) or "none yet"
            return Failure("unknown_language", f"language: nobody here speaks {language!r}; there are: {known}", field="language")
        if voice is not None and not self._studio.has_voice(voice):
            offered = [found for voices in self._studio.offers.values() for found in voices]
            known = ", ".join(found.id for found in offered[:20]) or "none yet"
            return Failure("unknown_voice", f"voice: there is no {voice!r}; there are: {known}", field="voice")
        return None

    def _on_done(self, sender: str, stream: str, seq: int) -> None:
        known = self._senders.get(sender)
        if known is not None:
            for event in known.ingest.on_done(stream, seq):
                self.outlet.send(sender, event)

    def _tell_complete(self, sender: str, known: _Sender) -> None:
        if known.is_ending and not any(speaker.owes(sender) for speaker in self._speakers.values()):
            known.is_ending = False
            self.outlet.send(sender, Complete())

    def _apply(self, decide: Callable[[Script, float], Sequence[Outcome]]) -> None:
        for speaker in self._speakers.values():
            speaker.apply(decide)

    # Senders and speakers

    def _sender(self, name: str) -> _Sender | None:
        """None when there are as many as may be, and text of each is waiting."""
        known = self._senders.get(name)
        if known is None:
            if len(self._senders) >= SENDERS:
                quiet = next((other for other in self._senders if self._is_quiet(other)), None)
                if quiet is None:
                    return None
                self._senders.pop(quiet).close()
            known = self._senders[name] = _Sender(self._settings.ingest)
        self._senders.move_to_end(name)
        return known

    def _is_quiet(self, name: str) -> bool:
        known = self._senders[name]
        return known.ingest.is_idle and not known.is_ending and not any(speaker.owes(name) for speaker in self._speakers.values())

    def _speaker(self, key: TrackKey) -> Speaker | None:
        """The speaker of that track; None when there are as many as may be."""
        key = self._same_language(key)
        speaker = self._speakers.get(key)
        if speaker is None and len(self._speakers) < self._settings.tracks:
            prefix = f"{self.name}:{len(self._speakers)}."
            script = Script(self._settings.script, self._settings.segmenter, prefix=prefix, allow=self._settings.allow)
            speaker = Speaker(key, script, self._studio, self._report, self, self._settings.speaker)
            self._speakers[key] = speaker
            self._running.append(asyncio.create_task(self._perform(speaker), name=f"speaker {self.name} {key.name}"))
            if self._is_frozen:
                speaker.freeze()
            self.outlet.open_track(key, speaker.buffer)
        return speaker

    async def _perform(self, speaker: Speaker) -> None:
        """The boundary: whatever goes wrong with one voice ends here, is told, and the voice speaks on."""
        while True:
            try:
                await speaker.run()
            except Exception:
                log.exception("the speaker of track %s in %s failed; it starts again", speaker.key.name, self.name)
                speaker.close("failed")
                self.outlet.send(None, Failure("internal", f"track {speaker.key.name} failed and starts again", retryable=True))
            await asyncio.sleep(RESTART)

    def _same_language(self, key: TrackKey) -> TrackKey:
        """``en-US`` is heard on the track ``en`` where that is the one the settings name."""
        named = next((tag for tag in self._settings.languages if primary(tag) == primary(key.language)), key.language)
        return TrackKey(key.speaker, named)

    # Backlog

    def _watch_backlog(self) -> None:
        if self._backlog_timer is None:
            self._backlog_timer = self._loop.call_later(BACKLOG_EVERY, self._tell_backlog)

    def _tell_backlog(self) -> None:
        self._backlog_timer = None
        seconds = round(max((speaker.backlog for speaker in self._speakers.values()), default=0.0), 1)
        for name, known in self._senders.items():
            waits = any(speaker.owes(name) for speaker in self._speakers.values())
            told = seconds if waits else 0.0
            if abs(told - known.backlog) >= BACKLOG_STEP or (told == 0.0 < known.backlog):
                known.backlog = told
                self.outlet.send(name, Backlog(told))
        if not self.is_idle:
            self._watch_backlog()
