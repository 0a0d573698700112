"""Dialects without a socket: orders as a client would see them, and a stage that says what a test wants."""

import itertools
from functools import partial
from types import SimpleNamespace

import numpy as np

from agent.gateway.settings import LimitSettings, StreamSettings, WsSettings
from agent.gateway.socket.dialect import Terms
from agent.gateway.socket.orders import Close, Open, Send, Tell
from agent.gateway.speech import make_plan
from engines.aliases import find_alias
from engines.base import Voice
from pipeline.chain import primary
from pipeline.playout import Sound
from pipeline.protocol import Text
from pipeline.speaker import TrackKey

RATE = 24_000
TRACK = TrackKey("booth", "en")


class Here:
    """A studio with two voices."""

    offers = {"tone": (Voice("tone-en", "tone", "en-US", RATE, gender="female"), Voice("tone-fr", "tone", "fr-FR", RATE, gender="male"))}
    status = ()

    def languages(self):
        return ("en", "fr")

    def speaks(self, language):
        return primary(language) in self.languages()

    def has_voice(self, id):
        return find_alias(id) is not None or any(voice.id == id for voice in self.offers["tone"])


NODE = SimpleNamespace(
    studio=Here(), is_draining=False, allow=lambda text: text, settings=SimpleNamespace(node=SimpleNamespace(languages=("en",)))
)


def terms(query=None, *, ws=None, rate=RATE, **limits):
    numbers = itertools.count()
    return Terms(
        rate=rate,
        settle=partial(make_plan, NODE),
        fresh=lambda: f"id-{next(numbers)}",
        query=query or {},
        ws=ws or WsSettings(),
        limits=LimitSettings(**limits),
        stream=StreamSettings(),
    )


def sent(orders):
    """What the client gets."""
    return [order.message for order in orders if isinstance(order, Send)]


def told(orders):
    """What the stage gets."""
    return [order.message for order in orders if isinstance(order, Tell)]


def texts(orders):
    return [message for message in told(orders) if isinstance(message, Text)]


def closed(orders):
    return [order.code for order in orders if isinstance(order, Close)]


def opened(orders):
    return sum(isinstance(order, Open) for order in orders)


def sound(seconds=0.1, sentence="s1", value=1000):
    return Sound(sentence, np.full(round(seconds * RATE), value, dtype=np.int16))
