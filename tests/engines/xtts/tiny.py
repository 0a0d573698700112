"""A model of the right shape and no sense: two layers of 64 channels, random weights, and a vocabulary of single letters."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np

from engines.xtts.files import CONFIG, MODEL, SPEAKERS, VOCABULARY
from engines.xtts.reading import LIMITS
from tests.engines.xtts.licence import accept_licence

LETTERS = "abcdefghijklmnopqrstuvwxyz.,!?' äöüéñçàèßığşřžůąęłőабвгдежзийклмнопрстуфхцчшщъыьэюя1234567890"
TOKENS = 30  # of sound at the most, 1.3 s: random weights seldom come to an end before
CHANNELS = 64
WIDTH = 16  # channels of the decoder; the model's settings do not say how many it has, and 512 would be most of the work
LOUDER = 30.0  # random weights whisper at -50 dBFS


@contextlib.contextmanager
def narrow_decoder() -> Iterator[None]:
    """Tiny models are made and loaded in here: the decoder's convolutions are those of the real one, but for their channels."""
    from TTS.tts.layers.xtts.hifigan_decoder import HifiDecoder

    narrow = functools.partial(HifiDecoder, upsample_initial_channel_decoder=WIDTH)
    with mock.patch("TTS.tts.models.xtts.HifiDecoder", narrow):
        yield


def make(folder: Path, *, seed: int = 1, channels: int = CHANNELS) -> Path:
    """The files of a model, its licence accepted, in ``folder / "xtts"``."""
    import torch
    from TTS.tts.configs.xtts_config import XttsArgs, XttsAudioConfig, XttsConfig
    from TTS.tts.models.xtts import Xtts

    place = folder / "xtts"
    accept_licence(place)
    size = _vocabulary(place / VOCABULARY)
    arguments = XttsArgs(
        gpt_layers=2,
        gpt_n_model_channels=channels,
        gpt_n_heads=2,
        gpt_max_audio_tokens=TOKENS,
        gpt_use_perceiver_resampler=True,
        gpt_num_audio_tokens=1026,
        gpt_start_audio_token=1024,
        gpt_stop_audio_token=1025,
        gpt_number_text_tokens=size,
        decoder_input_dim=channels,
        num_chars=255,
        tokenizer_file=str(place / VOCABULARY),
    )
    config = XttsConfig(model_args=arguments, audio=XttsAudioConfig(sample_rate=22050, output_sample_rate=24000))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Xtts(config)
        model.hifigan_decoder.waveform_decoder.conv_post.weight.data *= LOUDER
        voices = {
            name: {
                "gpt_cond_latent": torch.randn(1, 32, channels),
                "speaker_embedding": torch.nn.functional.normalize(torch.randn(1, 512, 1), dim=1),
            }
            for name in ("Claribel Dervla", "Andrew Chipper", "Eugenio Mataracı")
        }
    config.save_json(str(place / CONFIG))
    torch.save({"model": model.state_dict()}, place / MODEL)
    torch.save(voices, place / SPEAKERS)
    return place


def _vocabulary(path: Path) -> int:
    signs = ["[STOP]", "[UNK]", "[SPACE]", *(f"[{'zh-cn' if language == 'zh' else language}]" for language in LIMITS), "[START]", *LETTERS]
    vocabulary = {sign: number for number, sign in enumerate(dict.fromkeys(signs))}
    special = [sign for sign in vocabulary if len(sign) > 1]
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": vocabulary[sign],
                "content": sign,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for sign in special
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "[UNK]",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": vocabulary,
            "merges": [],
        },
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return len(vocabulary)


def speech(seconds: float = 4.0, *, rate: int = 22_050, level: float = 0.2, pitch: float = 120.0) -> np.ndarray:
    """Something with a voice's pitch and syllables: pulses through two formants, four syllables a second, pauses between words."""
    time = np.arange(round(seconds * rate)) / rate
    glide = pitch * (1 + 0.15 * np.sin(2 * np.pi * 0.7 * time))
    phase = 2 * np.pi * np.cumsum(glide) / rate
    voice = sum(np.sin(number * phase) / (1 + ((number * pitch - 600) / 400) ** 2) for number in range(1, 20))
    syllables = np.abs(np.sin(2 * np.pi * 2 * time)) * (np.sin(2 * np.pi * 0.4 * time) > -0.8)
    sound = voice * (0.03 + syllables)
    return (level * sound / np.abs(sound).max()).astype(np.float32)
