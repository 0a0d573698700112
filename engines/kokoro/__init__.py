"""Kokoro-82M, streamed inside the sentence."""

from engines.kokoro.engine import KokoroEngine as KokoroEngine
from engines.kokoro.engine import KokoroSettings as KokoroSettings
