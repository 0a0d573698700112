"""What engines are called by those who ask for them: every name under which one is known, whether it is here or not."""

from __future__ import annotations

import re
from collections.abc import Mapping

SYNONYMS: Mapping[str, str] = {"edge-tts": "edge", "default": "", "auto": ""}
"""Empty: whichever the node chooses."""
KNOWN: Mapping[str, str] = {
    "kokoro": r"kokoro.*",
    "xtts": r"xtts.*|tts_models/multilingual/multi-dataset/xtts.*",
    "speecht5": r"(microsoft/)?speecht5(_tts)?",
    "bark": r"(suno/)?bark(-small)?",
    "tacotron2": r"tacotron-?2.*",
    "valle-x": r"(plachtaa/)?vall-?e-?x",
    "fastspeech2": r"fastspeech-?2.*",
    "parler": r"(parler-tts/)?parler.*",
    "coqui": r"coqui.*|vits|tts_models/en/vctk/vits",
    "edge": r"edge(-tts)?",
    "piper": r"piper.*",
}
"""Engines that are known and may not be here; whoever asks for one is spoken to by somebody else."""


def known(asked: str) -> str:
    """The engine that is meant; empty when nobody knows it."""
    return next((name for name, shape in KNOWN.items() if re.fullmatch(shape, asked, re.IGNORECASE)), "")


def is_known(asked: str) -> bool:
    """Whether it makes sense to wish for it, here or elsewhere."""
    return asked.lower() in SYNONYMS or bool(known(asked))
