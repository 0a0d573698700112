"""The native dialect: the node's own protocol, with sound beside its events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

from agent.gateway.errors import Refused
from agent.gateway.socket.dialect import NATIVE, Dialect, Terms, to_base64
from agent.gateway.socket.orders import Hush, Open, Order, Refuse, Resume, Send, Tell
from agent.gateway.socket.sound import ENCODINGS, RATES, Encoder, Encoding
from pipeline.events import Captioned, Event, Failure, Pong, Ready, SentenceChosen, SentenceFinished
from pipeline.playout import Sound
from pipeline.protocol import AudioFormat, Cancel, Config, Hello, ProtocolError, Text, parse
from pipeline.speaker import Caption, TrackKey

DELIVERIES = ("binary", "base64")
CHOSEN = 256  # sentences that are made and not yet sent: the stage's look-ahead holds a few, on each track


@dataclass(slots=True)
class _Track:
    """One voice: its sound is one stream, whatever else is heard beside it."""

    encoder: Encoder
    sentence: str = ""
    """Whose sound was sent last."""
    position: int = 0
    """Samples of it that were sent, at the stage's rate."""


class Native(Dialect):
    """Messages go to the stage as they are, events to the client. What is added:

    1. ``audio`` names the sentence, the track and the format of the binary frames that follow; or it holds the sound in base64.
    2. ``caption`` tells words, and where in their sentence's sound they begin.
    3. A client that says ``session`` in its first ``hello`` finds it again in its next connection.
    """

    name: ClassVar[str] = NATIVE

    def __init__(self, terms: Terms) -> None:
        super().__init__(terms)
        self._format = AudioFormat(sample_rate=terms.rate)
        self._tracks: dict[TrackKey, _Track] = {}
        self._announced: tuple[TrackKey, str] | None = None  # whose frames these are, as far as the client knows
        self._utterances: dict[str, str] = {}  # by sentence, of those that are made and not yet sent
        self._sequence = 0
        self._resumed_from: int | None = None

    @property
    def encoding(self) -> str:
        return self._format.encoding

    def error(self, refused: Refused, *, is_last: bool) -> dict[str, Any]:
        named = {} if refused.field is None else {"field": refused.field}
        return {"type": "error", "code": refused.code, "message": refused.message, "retryable": refused.status in (429, 503), **named}

    def _begin(self, now: float) -> list[Order]:
        return [Open()]

    def on_text(self, raw: str, now: float) -> list[Order]:
        try:
            message = parse(raw.encode("utf-8", "surrogatepass"), characters=self._terms.text_characters)
            if isinstance(message, Config) and message.audio is not None:
                self._set_format(message.audio)
        except ProtocolError as error:
            return [Refuse(error)]
        match message:
            case Hello(session=str(session)):
                return [Resume(session, message.received), Tell(message)]
            case Cancel(utterance=None):
                for track in self._tracks.values():
                    track.encoder.drop()
                return [Tell(message), Hush()]
        return [Tell(message)]

    def on_refused(self, text: Text, refused: Refused) -> list[Order]:
        """Its number is not used up: it may be sent again."""
        return [Send(Failure(refused.code, refused.message, True, text.stream, text.seq, refused.field).encode())]

    def _take(self, message: dict[str, Any], now: float) -> list[Order]:
        raise AssertionError("this dialect reads messages itself")

    def _set_format(self, wanted: AudioFormat) -> None:
        for name, value, known in (
            ("encoding", wanted.encoding, ENCODINGS),
            ("sample_rate", wanted.sample_rate, RATES),
            ("delivery", wanted.delivery, DELIVERIES),
        ):
            if value not in known:
                raise ProtocolError("bad_field", f"audio.{name} is one of {', '.join(map(str, known))}", field=f"audio.{name}")
        if wanted != self._format:
            self._format = wanted
            self._tracks.clear()
            self._announced = None

    def on_event(self, event: Event, now: float) -> list[Order]:
        message = event.encode()
        match event:
            case Ready():
                audio = self._format.model_dump()
                if self._terms.request_id:
                    message["request_id"] = self._terms.request_id
                resumed = {"resumed": self._resumed_from is not None, "from": self._resumed_from or 0}
                return [Send({**message, "audio": audio, "text_chars": self._terms.text_characters, **resumed}, is_counted=False)]
            case Pong():
                return [Send(message, is_counted=False)]
            case SentenceChosen():
                self._utterances[event.id] = event.utterance
                if len(self._utterances) > CHOSEN:
                    del self._utterances[next(iter(self._utterances))]
            case SentenceFinished():
                return [*self._rest_of(event.id), Send(message)]
        return [Send(message)]

    def _rest_of(self, sentence: str) -> list[Order]:
        """The end of a sentence's sound that a change of rate still holds."""
        self._utterances.pop(sentence, None)
        found = next(((key, track) for key, track in self._tracks.items() if track.sentence == sentence), None)
        return self._audio(*found, found[1].encoder.flush()) if found is not None else []

    def on_sound(self, track: TrackKey, sound: Sound) -> list[Order]:
        known = self._track(track)
        if known.sentence != sound.sentence:
            known.sentence, known.position = sound.sentence, 0
        known.position += len(sound.samples)
        return self._audio(track, known, known.encoder.feed(sound.samples))

    def _audio(self, key: TrackKey, track: _Track, sound: bytes) -> list[Order]:
        if not sound:
            return []
        about = {"type": "audio", "id": track.sentence, "track": key.name, **self._format.model_dump(exclude={"delivery"})}
        if self._format.delivery == "base64":
            self._sequence += 1
            return [Send({**about, "sequence": self._sequence - 1, "data": to_base64(sound)})]
        if self._announced == (key, track.sentence):
            return [Send(sound)]
        self._announced = key, track.sentence
        utterance = self._utterances.get(track.sentence)
        return [Send({**about, "utterance": utterance} if utterance else about), Send(sound)]

    def on_caption(self, caption: Caption) -> list[Order]:
        track = self._track(caption.track)
        position = track.position if track.sentence == caption.sentence else 0
        milliseconds = round(position * 1000 / self._terms.rate)
        told = Captioned(caption.sentence, caption.track.language, caption.track.speaker, caption.text, caption.final)
        return [Send({**told.encode(), "position_ms": milliseconds})]

    def _track(self, key: TrackKey) -> _Track:
        """Bounded by the tracks that a stage may have."""
        if key not in self._tracks:
            self._tracks[key] = _Track(Encoder(self._terms.rate, self._format.sample_rate, cast(Encoding, self._format.encoding)))
        return self._tracks[key]

    def on_resumed(self, first: int) -> None:
        """The client is back, and gets the messages from that number on. It is told anew whose frames follow."""
        self._resumed_from = first
        self._announced = None
