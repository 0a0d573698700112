"""Speech for livekit-agents by a voicebooth node: ``from livekit.plugins import voicebooth``, then ``tts=voicebooth.TTS()``.

It stands alone: of voicebooth it needs nothing but this package, and a node to speak to.
"""

from __future__ import annotations

import logging

from livekit.agents import Plugin

from .tts import TTS, SynthesizeStream
from .version import __version__

__all__ = ["TTS", "SynthesizeStream", "__version__"]

logger = logging.getLogger(__name__)


class VoiceboothPlugin(Plugin):
    """What livekit-agents lists."""

    def __init__(self) -> None:
        super().__init__(__name__, __version__, __package__ or __name__, logger)


Plugin.register_plugin(VoiceboothPlugin())
