"""``voicebooth say --room``: a sender that has one thing to say, and tells what became of it."""

from __future__ import annotations

import asyncio
import uuid
import warnings

import typer
from jwt.warnings import InsecureKeyLengthWarning
from livekit import api, rtc

from agent.commands.options import Refusal
from agent.config import Settings
from agent.devserver import DEV_PORTS
from agent.failures import one_line
from agent.node import SAID_AHEAD, SAID_AT_ONCE, text_parts
from agent.upstream import Event, NoBooth, TooFarBehind, Upstream

CONNECT_WAIT = 10.0  # seconds for the server to let us in
READY_WAIT = 15.0  # seconds for a node to be sent into a new room and to answer: two where it is idle
PATIENCE, CHARACTER = 60.0, 0.2  # seconds for whatever is said there already, and for each character of ours: twice what speech takes


async def say_in_room(
    settings: Settings, room: str, text: str, *, language: str | None, voice: str | None, engine: str | None, speed: float | None
) -> None:
    """Raises :exc:`Refusal` when nobody answers, or something was not said."""
    url = settings.livekit.url or f"ws://127.0.0.1:{DEV_PORTS[0]}"
    wait = PATIENCE + CHARACTER * len(text)
    link, teller = rtc.Room(), _Teller()
    try:
        async with asyncio.timeout(CONNECT_WAIT):
            await link.connect(url, _token(settings, room), rtc.RoomOptions(auto_subscribe=False))
    except (rtc.ConnectError, TimeoutError) as error:
        raise Refusal(f"{url} does not let us into room {room}: {error or 'no answer'} (`voicebooth run --dev` starts a server)") from None
    try:
        async with Upstream(link, on_event=teller.on_event, keep=SAID_AHEAD // SAID_AT_ONCE) as up:
            await up.wait_ready(READY_WAIT)
            wishes = {"engine": engine, "speed": speed}
            if chosen := {name: wish for name, wish in wishes.items() if wish is not None}:
                await up.configure(**chosen)
            wished = {name: wish for name, wish in (("language", language), ("voice", voice)) if wish is not None}
            parts = text_parts(text)
            for number, part in enumerate(parts, start=1):
                fields = {**wished, "utterance": "text", "final": number == len(parts)}
                await up.send({"type": "text", "text": part, **fields}, timeout=wait)
            await up.drain(wait)
    except NoBooth:
        raise Refusal(f"no node answers in room {room}; `voicebooth run` or `voicebooth join` starts one") from None
    except (TooFarBehind, TimeoutError):
        raise Refusal(one_line([f"the end was not heard within {wait:.0f} s", *teller.unsaid])) from None
    finally:
        await link.disconnect()
    if teller.unsaid:
        raise Refusal(one_line(teller.unsaid))


class _Teller:
    """Tells each sentence as it is heard, and keeps what was not said."""

    def __init__(self) -> None:
        self.unsaid: list[str] = []
        self._texts: dict[str, str] = {}

    def on_event(self, event: Event) -> None:
        match event["type"]:
            case "sentence":
                self._texts[event["id"]] = event["text"].strip()
            case "speech_started":
                typer.echo(f"{event['ttft_ms']:5d} ms  {event['engine']:<8}{self._texts.pop(event['id'], '')}")
            case "dropped":
                self.unsaid.append(f"not said ({event['why']}): {event['text'].strip()}")
            case "error" if not event.get("retryable"):
                self.unsaid.append(f"{event['code']}: {event['message']}")


def _token(settings: Settings, room: str) -> str:
    grants = api.VideoGrants(room_join=True, room=room, can_publish=False, can_publish_data=True, can_update_own_metadata=True)
    token = api.AccessToken(settings.livekit.api_key, settings.livekit.api_secret).with_identity(f"say-{uuid.uuid4().hex[:8]}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InsecureKeyLengthWarning)  # the development server's secret is short, and known to everybody
        return token.with_grants(grants).to_jwt()
