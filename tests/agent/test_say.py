"""Where sound goes when no room is named."""

from __future__ import annotations

import sys
import types
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.say import NoLoudspeaker, Player, SoundCard, WavFile, loudspeaker
from engines.base import Samples

RATE = 24_000
SOUND: Samples = np.arange(1000, dtype=np.int16)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def program(path: Path, text: str) -> None:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


async def test_a_file_holds_what_was_written_when_it_is_broken_off(tmp_path: Path) -> None:
    file = WavFile(tmp_path / "x.wav", RATE)
    await file.write(SOUND)
    await file.abort()
    await file.abort()
    with wave.open(str(tmp_path / "x.wav")) as read:
        assert read.readframes(2000) == SOUND.tobytes()


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        WavFile(tmp_path / "none" / "x.wav", RATE)


async def test_a_player_gets_all_of_it(path: Path) -> None:
    program(path / "paplay", f'echo "$@" > {path}/told; exec /bin/cat > {path}/heard')
    player = await Player.open(RATE)
    await player.write(SOUND)
    await player.finish()
    await player.abort()
    assert (path / "heard").read_bytes() == SOUND.tobytes()
    assert "--rate=24000" in (path / "told").read_text()


async def test_a_player_that_fails_is_told(path: Path) -> None:
    program(path / "aplay", "/bin/cat > /dev/null; exit 1")
    player = await Player.open(RATE)
    await player.write(SOUND)
    with pytest.raises(NoLoudspeaker, match="aplay could not play it"):
        await player.finish()


async def test_a_player_can_be_broken_off(path: Path) -> None:
    program(path / "aplay", "exec /bin/sleep 60")
    player = await Player.open(RATE)
    await player.write(SOUND)
    await player.abort()
    assert player._process.returncode is not None


async def test_without_anything_that_plays_it_says_what_would(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(NoLoudspeaker, match="alsa-utils"):
        await loudspeaker(RATE)


class Stream:
    """A card whose buffer holds 300 samples and is emptied between two looks."""

    latency = 0.0
    closed = False

    def __init__(self, **options: Any) -> None:
        self.options, self.heard, self.filled = options, b"", 0

    def start(self) -> None: ...

    @property
    def write_available(self) -> int:
        room, self.filled = 300 - self.filled, 0
        return room

    def write(self, pcm: bytes) -> None:
        self.heard += pcm
        self.filled = len(pcm) // 2
        assert self.filled <= 300

    def stop(self) -> None: ...

    def abort(self) -> None: ...

    def close(self) -> None:
        self.closed = True


async def test_a_sound_card_is_never_given_more_than_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.say.LOOK", 0.0)
    monkeypatch.setitem(sys.modules, "sounddevice", types.SimpleNamespace(RawOutputStream=Stream, PortAudioError=RuntimeError))
    card = SoundCard.open(RATE)
    assert card
    await card.write(SOUND)
    await card.finish()
    await card.abort()
    assert (card._stream.heard, card._stream.closed) == (SOUND.tobytes(), True)
    assert card._stream.options["samplerate"] == RATE


def test_a_machine_without_a_card_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> None:
        raise RuntimeError("no default output")

    monkeypatch.setitem(sys.modules, "sounddevice", types.SimpleNamespace(RawOutputStream=refuse, PortAudioError=RuntimeError))
    assert SoundCard.open(RATE) is None
