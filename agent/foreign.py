"""What other services call our settings: their variables and keys are read as ours; those without any meaning here are refused. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

VARIABLES: Mapping[str, str] = {
    "LIVEKIT_URL": "livekit.url",
    "LIVEKIT_API_KEY": "livekit.api_key",
    "LIVEKIT_API_SECRET": "livekit.api_secret",
    "SERVICE_HOST": "server.host",
    "SERVICE_PORT": "server.ports",
    "SERVICE_NAME": "node.name",
    "SERVER_LOG_LEVEL": "log.level",
    "LOG_LEVEL": "log.level",
    "MAX_TEXT_LENGTH": "limits.text_chars",
    "MAX_REQUESTS_PER_MINUTE": "limits.requests_per_minute",
    "MAX_CONCURRENT_REQUESTS": "limits.concurrent_requests",
    "CACHE_ENABLED": "cache.enabled",
    "CACHE_DIR": "cache.dir",
    "CACHE_SIZE_MB": "cache.size_mb",
    "CACHE_TTL_SECONDS": "cache.ttl_seconds",
    "CACHE_MAX_ENTRIES": "cache.max_entries",
    "AUDIO_SAMPLE_RATE": "audio.sample_rate",
    "AUDIO_FORMAT": "audio.format",
    "STREAM_CHUNK_SIZE": "stream.chunk_bytes",
    "CORS_ORIGINS": "security.cors_origins",
    "MODEL_DOWNLOAD_ROOT": "models.root",
    "PIPER_MODEL_NAME": "piper.voices",
}
"""Of two for one key the later one holds."""
KEYS: Mapping[str, str] = {
    "server.name": "node.name",
    "server.drain_s": "node.drain_wait",
    "fallback_chain": "selection.fallback_chain",
    "engines.fallback_chain": "selection.fallback_chain",
    "engines.selection_strategy": "selection.strategy",
    "auto_selection.ttft_threshold_ms": "selection.ttft_threshold_ms",
    "auto_selection.quality_threshold": "selection.quality_threshold",
    "quality.sample_rate": "audio.sample_rate",
    "output.format": "audio.format",
    "output.normalize_audio": "audio.normalize",
    "output.trim_silence": "audio.trim_silence",
    "output.compression": "audio.compression",
    "tts.cache_enabled": "cache.enabled",
    "piper.model": "piper.voices",
}
"""Keys in a file."""
FIXED: Mapping[str, tuple[object, ...]] = {
    "audio.channels": (1,),
    "audio.bit_depth": (16,),
    "stream.enabled": (True,),
    "cache.strategy": ("lru",),
    "models.cache": (True,),
    "engines.enabled": (True,),
    "engines.num_workers": (1,),
    "engines.tensor_parallel": (1,),
    "server.environment": ("development", "production"),
    "server.enable_model_caching": (True,),
    "tts.enabled": (True,),
}
"""Keys whose only values here are these: the node is so anyhow."""
ABSENT: Mapping[str, str] = {
    "quality.target_mos": "no sentence is rated while it is spoken; selection.quality_threshold goes by the engines' ratings",
    "cache.voice_embeddings": "voices from recordings are kept by their engine",
    "jobs.ttl_s": "there are no jobs yet",
    "engines.default_model": "put it first in selection.fallback_chain",
    "tts.default_model": "put it first in selection.fallback_chain",
    "engines.device": "each engine finds its own; kokoro.runtime and xtts.device choose another",
    "engines.compute_type": "set kokoro.precision",
    "engines.cpu_threads": "set lanes.count, and piper.threads",
    "piper.model_path": "set models.root, a folder, and piper.voices",
    "piper.binary_path": "Piper runs inside the node, without its binary",
}
"""What mends it, or why there is nothing to set."""


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """By our keys; what is empty counts as not set."""
    found: dict[str, Any] = {}
    for name, key in VARIABLES.items():
        if environ.get(name):
            _put(found, key, _listed(environ[name]))
    return found


def variable_of(key: str, environ: Mapping[str, str]) -> str:
    """Which of them has set it; empty for none."""
    return next((name for name in reversed([*VARIABLES]) if VARIABLES[name] == key and environ.get(name)), "")


def from_file(found: Mapping[str, Any]) -> dict[str, Any]:
    """The same sections, in our words. Raises :exc:`ValueError` for what says two things, or something that cannot be."""
    ours: dict[str, Any] = {name: dict(section) if isinstance(section, Mapping) else section for name, section in found.items()}
    for theirs, key in KEYS.items():
        if (value := _take(ours, theirs)) is not None:
            value = _named(value) if key == "selection.fallback_chain" else value
            if _look(ours, key) not in (None, value):
                raise ValueError(f"{theirs} and {key} say different things")
            _put(ours, key, value)
    for key, values in FIXED.items():
        if (value := _take(ours, key)) is not None and (value not in values or type(value) is not type(values[0])):
            raise ValueError(f"{key}: here it is {' or '.join(map(json.dumps, values))}")
    return ours


def why_not(key: str) -> str:
    """Why a key that other services have is none here; empty for one that nobody has."""
    return ABSENT.get(key, "") or (f"set {KEYS[key]}" if key in KEYS else "")


def leaves(found: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """The full names of all that is set."""
    for name, value in found.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{place}{name}.")
        else:
            yield f"{place}{name}"


def _named(value: Any) -> Any:
    """Engines, as they are called here."""
    known = {"edge-tts": "edge"}
    return [known.get(name, name) if isinstance(name, str) else name for name in value] if isinstance(value, list) else value


def _listed(value: str) -> Any:
    """Some write their lists as JSON."""
    if not value.startswith("["):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _look(found: Mapping[str, Any], key: str) -> Any:
    section, _, name = key.rpartition(".")
    inside = found.get(section) if section else found
    return inside.get(name) if isinstance(inside, Mapping) else None


def _take(found: dict[str, Any], key: str) -> Any:
    """Out of it; a section in which nothing is left goes, too."""
    section, _, name = key.rpartition(".")
    inside = found.get(section) if section else found
    if not isinstance(inside, dict):
        return None
    value = inside.pop(name, None)
    if section and not inside:
        del found[section]
    return value


def _put(found: dict[str, Any], key: str, value: Any) -> None:
    section, _, name = key.rpartition(".")
    inside = found.setdefault(section, {})
    if isinstance(inside, dict):
        inside[name] = value
