"""What there is to choose from: voices, languages, models."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi import Path as InPath

from agent.gateway import documents
from agent.gateway.errors import Refused
from agent.gateway.fields import TAG, Tag, clip
from agent.node import Node
from agent.roster import Entry, Offers, entries
from engines.base import Voice
from engines.catalog import Catalog
from engines.tiers import kept_by
from pipeline.chain import primary
from pipeline.studio import EngineStatus

PATIENCE = 5.0  # seconds: whoever speaks goes first
STATES = {"ready": "loaded", "loading": "loading", "unloaded": "installed", "unavailable": "failed"}
NAMES = {
    "ar": "Arabic",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "hi": "Hindi",
    "hu": "Hungarian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
"""For people; another language is called by its tag."""


def routes(node: Node) -> APIRouter:
    router, shown = APIRouter(tags=["lists"]), _Shown(node)

    @router.get("/voices", **documents.VOICES)
    async def voices(
        language: Annotated[Tag | None, Query(description="`fr` finds `fr-CA`, too.")] = None,
        engine: Annotated[str | None, Query(max_length=256, description="Only this engine's.")] = None,
        tier: Annotated[str | None, Query(max_length=16, description="`fast`, `standard` or `premium`.")] = None,
    ) -> dict[str, Any]:
        """The voices that can be heard now."""
        found = [
            one for one in await shown.entries() if (not engine or one.voice.engine == engine) and (not tier or tier in kept_by(one.voice))
        ]
        return {"voices": [_voice(node, one) for one in found if language is None or _speaks(one.voice, language)]}

    @router.get("/voices/{name}", **documents.VOICES_OF)
    async def voices_of(name: Annotated[str, InPath(description="A language tag.")]) -> dict[str, Any]:
        """Those that speak a language; none where nobody does."""
        if not TAG.fullmatch(name):
            raise Refused("bad_language", f"language: {clip(name)!r} is no language tag", 422, field="language")
        return {"voices": [_voice(node, one) for one in await shown.entries() if _speaks(one.voice, name)]}

    @router.get("/languages", **documents.LANGUAGES)
    async def languages() -> dict[str, Any]:
        """The languages that somebody here speaks."""
        found: dict[str, list[Voice]] = {}
        for voice in _voices(node):
            found.setdefault(primary(voice.language), []).append(voice)
        return {
            "languages": [
                {"code": code, "name": NAMES.get(code, code), "engines": sorted({v.engine for v in spoken}), "voices": len(spoken)}
                for code, spoken in found.items()
            ]
        }

    @router.get("/models", **documents.MODELS)
    async def models(
        flat: Annotated[bool, Query(description="The bare list.")] = False,
        task: Annotated[str | None, Query(max_length=64, description="`text-to-speech` is the only one.")] = None,
    ) -> Any:
        """The engines that are configured, and whether each can speak."""
        wanted = task in (None, "text-to-speech", "tts")
        sizes = await node.studio.lanes.run(partial(_sizes, node.settings.models.root), due=node.loop.time() + PATIENCE, disk=True)
        found = [_model(node, status, sizes) for status in node.studio.status] if wanted else []
        return found if flat else {"models": found}

    return router


class _Shown:
    """The entries of the voices that are on offer, made anew when others are."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._offers: Offers | None = None
        self._entries: list[Entry] = []

    async def entries(self) -> list[Entry]:
        node, offers = self._node, self._node.studio.offers
        if offers is self._offers:
            return self._entries
        make = partial(entries, offers, node.settings.chain.order)
        found = await node.studio.lanes.run(make, due=node.loop.time() + PATIENCE, disk=True)
        self._offers, self._entries = offers, found
        return found


def _voices(node: Node) -> list[Voice]:
    return [voice for offered in node.studio.offers.values() for voice in offered]


def _speaks(voice: Voice, language: str) -> bool:
    spoken, wanted = voice.language.lower(), language.lower().replace("_", "-")
    return spoken == wanted or spoken.startswith(wanted + "-")


def _voice(node: Node, entry: Entry) -> dict[str, Any]:
    voice = entry.voice
    return {
        "voice_id": voice.id,
        "id": voice.id,
        "name": voice.name or voice.id,
        "language": voice.language,
        "gender": voice.gender,
        "description": voice.description,
        "supported_engines": list(entry.engine_voices),
        "quality_tier": voice.tier,
        "aliases": entry.aliases,
        "engine_voices": entry.engine_voices,
        "equivalents": entry.equivalents,
        "clone_capable": voice.engine in node.studio.cloning,
        "sample_rate": voice.sample_rate,
    }


def _sizes(folder: Path) -> Counter[str]:
    """Bytes of what is installed, by engine; blocks."""
    sizes: Counter[str] = Counter()
    for row in Catalog(folder).list_voices():
        if row.installed:
            sizes[row.engine] += row.size
    return sizes


def _model(node: Node, status: EngineStatus, sizes: Counter[str]) -> dict[str, Any]:
    name, is_loaded = status.name, status.name in node.studio.offers
    place = "service" if status.network else "local"
    return {
        "name": name,
        "task": "text-to-speech",
        "loaded": is_loaded,
        "status": STATES[status.state],
        "provider": place,
        "source": place,
        "model_id": node.studio.offers[name][0].id if is_loaded else "",
        "size_mb": round(sizes[name] / 1e6, 1) if sizes[name] else None,
        "version": status.build.partition(" ")[0] if status.network else status.build,
    }
