from collections import Counter

from agent.gateway import lists
from engines.base import Voice
from engines.kokoro.voices import describe
from engines.tiers import tier_of
from pipeline.studio import EngineStatus


async def get(client, path, **params):
    async with client.get(path, params=params) as answer:
        return answer.status, await answer.json()


async def test_voices_by_language_and_engine(client):
    _, body = await get(client, "/voices")
    assert len(body["voices"]) == 26
    assert {"voice_id", "id", "name", "language", "gender", "description", "supported_engines", "quality_tier"} <= set(body["voices"][0])
    _, body = await get(client, "/voices", language="fr", engine="tone")
    assert [voice["id"] for voice in body["voices"]] == ["tone-fr", "tone-fr-low"]
    assert (await get(client, "/voices", engine="parrot")) == (200, {"voices": []})
    assert (await get(client, "/voices/fr"))[1] == body
    assert (await get(client, "/voices/xx")) == (200, {"voices": []})
    status, body = await get(client, "/voices/..%2Fetc")
    assert status in (404, 422)
    status, body = await get(client, "/voices/12")
    assert (status, body["code"]) == (422, "bad_language")


async def test_voices_by_tier(client, node, monkeypatch):
    def of(engine, quality=""):
        return Voice(f"{engine}{quality}", engine, "en-US", 24_000, tier=tier_of(engine, quality))

    here = {
        "kokoro": (describe("af_heart"),),
        "piper": (of("piper", "low"), of("piper", "medium")),
        "xtts": (of("xtts"),),
        "edge": (of("edge"),),
    }
    monkeypatch.setattr(type(node.studio), "offers", property(lambda studio: here))
    found = {tier: (await get(client, "/voices", tier=tier))[1]["voices"] for tier in ("fast", "standard", "premium", "odd")}
    assert {tier: [voice["id"] for voice in voices] for tier, voices in found.items()} == {
        "fast": ["af_heart", "piperlow", "pipermedium"],
        "standard": ["af_heart", "pipermedium"],
        "premium": ["xtts"],
        "odd": [],
    }
    assert [voice["quality_tier"] for voice in found["fast"]] == ["standard", "fast", "standard"]


async def test_a_voice_tells_its_other_ids_and_who_goes_on_for_it(client, node, monkeypatch):
    joe = Voice("en_US-joe-medium", "piper", "en-US", 22_050, gender="male")
    here = {"kokoro": (describe("am_adam"), describe("af_heart")), "piper": (joe,)}
    monkeypatch.setattr(type(node.studio), "offers", property(lambda studio: here))
    monkeypatch.setattr(type(node.settings.chain), "order", ("kokoro", "piper"), raising=False)
    adam, heart, joe = (await get(client, "/voices"))[1]["voices"]
    assert (adam["engine_voices"], adam["equivalents"]) == ({"kokoro": "am_adam"}, ["en_US-joe-medium"])
    assert {"en-us-male-fast", "v2/en_speaker_6"} <= set(adam["aliases"]) and "alloy" in heart["aliases"] and not joe["aliases"]
    here = {"kokoro": here["kokoro"]}
    adam, heart = (await get(client, "/voices/en"))[1]["voices"]
    assert adam["equivalents"] == [], "who goes on is asked anew when others are on offer"


async def test_languages_are_those_that_somebody_speaks(client):
    _, body = await get(client, "/languages")
    assert {"code": "fr", "name": "French", "engines": ["tone"], "voices": 2} in body["languages"]


async def test_models_are_the_engines(client):
    _, body = await get(client, "/models")
    (model,) = body["models"]
    assert (model["name"], model["task"], model["loaded"], model["status"]) == ("tone", "text-to-speech", True, "loaded")
    assert (model["provider"], model["source"], model["model_id"]) == ("local", "local", "tone-en")
    assert (model["version"], model["size_mb"]) == ("tone-1", None)
    assert (await get(client, "/models", flat=1))[1] == [model]
    assert (await get(client, "/models", task="text-generation"))[1] == {"models": []}


async def test_a_model_says_where_it_is_how_big_and_which(client, node, monkeypatch):
    monkeypatch.setattr(lists, "_sizes", lambda folder: Counter(piper=63_200_000))
    statuses = (
        EngineStatus("piper", "ready", "", 1, "piper-1 onnxruntime-1.20 a:b"),
        EngineStatus("remote", "ready", "", 1, "remote-1 http://inside.example/ 0123", network=True),
        EngineStatus("xtts", "unloaded"),
        EngineStatus("kokoro", "unavailable", "it is not here"),
    )
    monkeypatch.setattr(type(node.studio), "status", property(lambda studio: statuses))
    _, body = await get(client, "/models")
    piper, remote, xtts, kokoro = body["models"]
    assert (piper["provider"], piper["size_mb"], piper["version"]) == ("local", 63.2, "piper-1 onnxruntime-1.20 a:b")
    assert (remote["provider"], remote["source"], remote["size_mb"], remote["version"]) == ("service", "service", None, "remote-1")
    assert (xtts["status"], kokoro["status"]) == ("installed", "failed")
