"""The XTTS network on torch: loaded from its files, told whose voice it has, and run token by token, its sound decoded in windows.

The library streams by decoding everything so far for each chunk and blending the seams. Here each token is a step, and the decoder
runs over windows that overlap by what its convolutions see: the samples of one pass over the whole.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from engines.base import BadModel, EngineError, EngineUnavailable, SynthesisFailed
from engines.weights import FAILURES
from engines.windows import Floats
from engines.xtts.files import CONFIG, CONFIG_BYTES, ID, INSTALL, MODEL, SPEAKERS, VOCABULARY
from engines.xtts.latents import Latents
from engines.xtts.reading import LIMITS, READERS, primary
from engines.xtts.reference import INSTALL as INSTALL_LIBRARY
from engines.xtts.reference import RATE as HEARING

RATE = 24_000  # hertz of the sound
HOP = 256  # samples of one frame of the decoder
REACH = 14  # frames that the decoder's convolutions see on each side of one
MOST_THREADS = 4  # per step: single tokens feed no more
MOST_OF_ANYTHING = 1 << 20  # in a model's settings; its sizes are thousands at most
UNSETTLED = 2  # frames before the last token's end that the next token still changes, besides that token's own


class Border:
    """Inside it, a library's error becomes one of ours. May be entered by several threads at once."""

    def __init__(self, make: Callable[[str], EngineError]) -> None:
        """``make``: the error, from the first lines of what the library says."""
        self._make = make

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(problem, FAILURES) or type(problem) is Exception:
            raise self._make(_line(problem)) from problem


SPEAKING = Border(lambda why: SynthesisFailed(f"XTTS: {why}"))


class Network:
    """The model in memory. In any thread: one token at a time is made, by whoever holds the lock."""

    def __init__(self, folder: Path, device: str, threads: int) -> None:
        """``device``: ``cpu``, ``cuda`` or ``auto``. Raises :exc:`EngineUnavailable`, as :exc:`BadModel` where a file is to blame."""
        self.torch = import_torch()
        self.device = _device(self.torch, device)
        self.torch.set_num_threads(threads or min(os.cpu_count() or 1, MOST_THREADS))
        self.cores = float(self.torch.get_num_threads()) if self.device == "cpu" else 1.0
        """That a step keeps busy."""
        config = _read_config(folder)
        with Border(lambda why: BadModel(f"the XTTS model in {folder} cannot be loaded: {why}", remedy=INSTALL)):
            self._model = self._load(folder, config)
            self.speakers = self._read_speakers(folder / SPEAKERS) if (folder / SPEAKERS).is_file() else {}
        self.config = config
        self.languages = tuple(dict.fromkeys(name for tag in config.languages if (name := primary(tag)) in LIMITS and has_reader(name)))
        self._lock = threading.Lock()

    @property
    def channels(self) -> int:
        """Of a voice's prompt."""
        return int(self._model.args.gpt_n_model_channels)

    def _load(self, folder: Path, config: Any) -> Any:
        """The library's own loading rewrites older checkpoints in place; this one leaves the files as they are."""
        xtts = importlib.import_module("TTS.tts.models.xtts")
        reader = importlib.import_module("TTS.tts.layers.xtts.tokenizer")
        model = xtts.Xtts(config)
        model.tokenizer = reader.VoiceBpeTokenizer(str(folder / VOCABULARY))
        model.init_models()
        state = self._read_weights(folder / MODEL)
        if not all(bool(value.isfinite().all()) for value in state.values() if value.is_floating_point()):
            raise ValueError("it holds weights that are no numbers")
        try:
            model.load_state_dict(state)
        except RuntimeError:
            model.gpt.init_gpt_for_inference(kv_cache=config.model_args.kv_cache)  # older checkpoints hold this part, too
            model.load_state_dict(state)
        model.gpt.init_gpt_for_inference(kv_cache=config.model_args.kv_cache)
        model.gpt.eval()
        model.hifigan_decoder.eval()
        return model.to(self.device)

    def _read_weights(self, path: Path) -> dict[str, Any]:
        """Tensors by name. Nothing but tensors and the model's own settings is let in: a checkpoint is a stranger's pickle."""
        shared = importlib.import_module("TTS.config.shared_configs")
        own = importlib.import_module("TTS.tts.configs.xtts_config")
        settings = (own.XttsArgs, own.XttsAudioConfig, own.XttsConfig, shared.BaseDatasetConfig)
        earlier = [(kind, f"TTS.tts.models.xtts.{kind.__name__}") for kind in settings[:2]]  # where they were when the model was made
        with self.torch.serialization.safe_globals([*settings, *earlier]):
            content = self.torch.load(path, map_location="cpu", weights_only=True)
        named = {str(name).removeprefix("xtts."): value for name, value in content["model"].items()}
        unused = ("torch_mel_spectrogram_style_encoder", "torch_mel_spectrogram_dvae", "dvae")
        return {name: value for name, value in named.items() if name.split(".")[0] not in unused}

    def _read_speakers(self, path: Path) -> dict[str, Latents]:
        content = self.torch.load(path, map_location="cpu", weights_only=True)
        speakers = {
            str(name): Latents(_array(item["gpt_cond_latent"]), _array(item["speaker_embedding"])) for name, item in content.items()
        }
        wrong = [name for name, latents in speakers.items() if not self.fits(latents)]
        if wrong:
            raise ValueError(f"{path.name}: the voice of {wrong[0]} is not one for this model")
        return speakers

    def fits(self, latents: Latents) -> bool:
        """Whether this is a voice for this model."""
        shapes = latents.prompt.shape[::2] == (1, self.channels) and latents.speaker.shape == (1, self._model.args.d_vector_dim, 1)
        return latents.is_sound and shapes

    def condition(self, recordings: Sequence[Floats]) -> Latents:
        """The voice in these recordings, mono at 22 050 Hz. Raises :exc:`SynthesisFailed`."""
        torch, model, config = self.torch, self._model, self.config
        sounds = [torch.from_numpy(np.array(recording, dtype=np.float32))[None] for recording in recordings]
        if config.sound_norm_refs:
            sounds = [sound / sound.abs().max() * 0.75 for sound in sounds]
        with Border(lambda why: SynthesisFailed(f"XTTS cannot take this voice: {why}")), self._lock, torch.inference_mode():
            speaker = torch.stack([model.get_speaker_embedding(sound.clone(), HEARING) for sound in sounds]).mean(dim=0)
            prompt = model.get_gpt_cond_latents(
                torch.cat(sounds, dim=-1), HEARING, length=config.gpt_cond_len, chunk_length=config.gpt_cond_chunk_len
            )
        latents = Latents(_array(prompt), _array(speaker))
        if not self.fits(latents):
            raise SynthesisFailed("XTTS makes no voice of this recording")
        return latents

    def tokens(self, text: str, language: str) -> list[int] | None:
        """What the model reads; None when that is more than it takes. Raises :exc:`SynthesisFailed`."""
        with Border(lambda why: SynthesisFailed(f"XTTS cannot read {len(text)} characters: {why}")), self._lock:
            found = [int(token) for token in self._model.tokenizer.encode(text.strip().lower(), lang=language)]
        return found if len(found) < self._model.args.gpt_max_text_tokens else None

    def sentence(self, tokens: Sequence[int], voice: Latents, *, seed: int, speed: float, temperature: float) -> Sentence:
        """Nothing is made before it is asked to :meth:`Sentence.advance`. Raises :exc:`SynthesisFailed`."""
        return Sentence(self, self._model, self._lock, tokens, voice, seed=seed, speed=speed, temperature=temperature)


class Sentence:
    """One piece of text on its way through the network: tokens are added, and frames of sound come out as they settle."""

    def __init__(
        self,
        network: Network,
        model: Any,
        lock: threading.Lock,
        tokens: Sequence[int],
        voice: Latents,
        *,
        seed: int,
        speed: float,
        temperature: float,
    ) -> None:
        self._torch, self._device = network.torch, network.device
        self._model, self._lock = model, lock
        self._scale = 1.0 / speed
        self._latents: list[Any] = []
        self._heard: Any = None  # all latents, at the decoder's pace
        self._is_over = False
        torch = self._torch
        with self._guarded(), torch.inference_mode():
            self._speaker = torch.from_numpy(np.array(voice.speaker)).to(self._device)
            prompt = torch.from_numpy(np.array(voice.prompt)).to(self._device)
            ids = torch.tensor(tokens, dtype=torch.int32, device=self._device)[None]
            with self._random(lambda: torch.manual_seed(seed)):
                start = model.gpt.compute_embeddings(prompt, ids)
                self._prefix = model.gpt.gpt_inference.cached_prefix_emb
                self._generator: Iterator[tuple[Any, Any]] = model.gpt.get_generator(
                    fake_inputs=start,
                    do_sample=True,
                    num_beams=1,
                    num_return_sequences=1,
                    temperature=temperature,
                    top_k=network.config.top_k,
                    top_p=network.config.top_p,
                    length_penalty=float(network.config.length_penalty),
                    repetition_penalty=float(network.config.repetition_penalty),
                    output_attentions=False,
                    output_hidden_states=True,
                    return_dict_in_generate=True,
                )

    @property
    def is_over(self) -> bool:
        """Whether the model has said the text to its end."""
        return self._is_over

    def advance(self) -> None:
        """One token more; the first one reads the text."""
        with self._guarded():
            # The library keeps one sentence's beginning on the model, and draws from the process's numbers: each step brings its own.
            self._model.gpt.gpt_inference.store_prefix_emb(self._prefix)
            with self._random(self._restore):
                try:
                    _, latent = next(self._generator)
                    self._latents.append(latent)
                except StopIteration:
                    self._is_over = True
        self._heard = None

    @property
    def settled(self) -> int:
        """Frames of 256 samples that no further token changes, and that the decoder can make."""
        if self._is_over:
            return self._frames(len(self._latents))
        return max(0, self._frames(len(self._latents) - 1) - UNSETTLED - REACH)

    def _frames(self, tokens: int) -> int:
        args = self._model.args
        coarse = int(int(tokens * self._scale) * (args.gpt_code_stride_len / args.output_hop_length))
        return int(coarse * (args.output_sample_rate / args.input_sample_rate))

    def pull(self, start: int, end: int) -> Floats:
        """Samples of these settled frames, shape (n,): the same as one pass over the whole would make."""
        torch = self._torch
        with SPEAKING, torch.inference_mode():
            if self._heard is None:
                self._heard = self._spread()
            first, last = max(0, start - REACH), min(int(self._heard.shape[-1]), end + REACH)
            sound = self._model.hifigan_decoder.waveform_decoder(self._heard[..., first:last], g=self._speaker)
            samples = _array(sound).reshape(-1)[(start - first) * HOP : (end - first) * HOP]
        return samples

    def _spread(self) -> Any:
        """All latents, stretched by the speed and from the tokens' pace to the decoder's."""
        torch, args = self._torch, self._model.args
        spread = torch.cat(self._latents, dim=0)[None].transpose(1, 2)
        scales = [args.gpt_code_stride_len / args.output_hop_length, args.output_sample_rate / args.input_sample_rate]
        for scale in ([self._scale] if self._scale != 1.0 else []) + scales:
            spread = torch.nn.functional.interpolate(spread, scale_factor=[scale], mode="linear")
        return spread

    def _restore(self) -> None:
        torch = self._torch
        torch.set_rng_state(self._state[0])
        if self._device == "cuda":
            torch.cuda.set_rng_state(self._state[1])

    @contextlib.contextmanager
    def _random(self, begin: Any) -> Iterator[None]:
        """This sentence's own random numbers, and afterwards the process's again."""
        torch = self._torch
        devices = [torch.cuda.current_device()] if self._device == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            begin()
            yield
            self._state = (torch.get_rng_state(), torch.cuda.get_rng_state() if devices else None)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        with SPEAKING, self._lock:
            yield


def import_torch() -> Any:
    """torch, with all that the model needs beside it. Raises :exc:`EngineUnavailable`."""
    with Border(lambda why: EngineUnavailable(f"engine xtts needs torch and coqui-tts: {why}", remedy=INSTALL_LIBRARY)):
        torch = importlib.import_module("torch")
        importlib.import_module("TTS.tts.models.xtts")
    logging.getLogger("transformers").setLevel(logging.ERROR)  # it warns of every model that is no text model
    return torch


def has_reader(language: str) -> bool:
    """Whether the libraries are here that some languages are read with."""
    return all(importlib.util.find_spec(name) is not None for name in READERS.get(language, ()))


def _device(torch: Any, wanted: str) -> str:
    is_there = bool(torch.cuda.is_available())
    if wanted == "cuda" and not is_there:
        raise EngineUnavailable("engine xtts is to run on CUDA, and torch finds no such device", remedy="xtts.device=auto")
    return "cuda" if is_there and wanted != "cpu" else "cpu"


def _read_config(folder: Path) -> Any:
    """The library's own reading of the model's settings. Raises :exc:`BadModel`."""
    path = folder / CONFIG
    with Border(lambda why: BadModel(f"{path} cannot be used: {why}", remedy=INSTALL)):
        if path.stat().st_size > CONFIG_BYTES:
            raise ValueError("it is too large")
        content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content.get("model") != ID:
            raise ValueError("it is not one of XTTS")
        config = importlib.import_module("TTS.tts.configs.xtts_config").XttsConfig()
        _check_sizes(content["model_args"], vars(config.model_args))
        config.from_dict(content)
        if config.model_args.output_sample_rate != RATE or config.model_args.output_hop_length != HOP:
            raise ValueError("its decoder is of another kind")
    return config


def _check_sizes(given: Mapping[str, Any], usual: Mapping[str, Any]) -> None:
    """The library puts its default where a value is of the wrong kind, and would make a model as large as somebody likes."""
    for name, value in usual.items():
        if type(value) is int and not (type(given.get(name, value)) is int and -1 <= given.get(name, value) <= MOST_OF_ANYTHING):
            raise ValueError(f"{name} cannot be {given[name]!r}")


def _array(tensor: Any) -> Floats:
    values: Floats = np.array(tensor.detach().float().cpu().numpy(), dtype=np.float32)
    return values


def _line(problem: BaseException) -> str:
    """A library's errors run over many lines; the first ones say enough."""
    return " ".join((str(problem) or type(problem).__name__).split())[:300]
