import asyncio

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from agent.config import Settings
from agent.gateway.bounds import Exchange
from agent.gateway.metrics import Metrics, reason_of
from agent.node import DOORS
from pipeline.report import Report
from tests.agent.gateway.conftest import SETTINGS
from tests.agent.gateway.test_synthesis import ask

NAMES = """tts_synthesis_requests_total tts_requests_total tts_ttft_duration_seconds tts_synthesis_duration_seconds tts_latency_seconds
tts_synthesis_errors_total tts_active_sessions tts_audio_quality_score http_requests_total http_request_duration_seconds
http_request_duration_highr_seconds http_request_size_bytes http_response_size_bytes tts_audio_seconds_total tts_chunk_gap_seconds
tts_underruns_total tts_fallback_total tts_budget_miss_total tts_queue_depth tts_cache_hits_total tts_cache_misses_total tts_cache_bytes
tts_rtf tts_engine_up tts_build_info process_resident_memory_bytes""".split()


async def read(client):
    async with client.get("/metrics") as answer:
        assert answer.headers["content-type"].startswith("text/plain")
        return await answer.text()


def value(text, name, **labels):
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


async def test_every_name_is_there_and_counts(client):
    await ask(client, "/synthesize/stream", text="One two three. Four five six.")
    await ask(client, text="One two three. Four five six.")
    await ask(client, text="")
    text = await read(client)
    declared = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert not [name for name in NAMES if name not in declared]
    assert value(text, "tts_synthesis_requests_total", engine="tone", language="en") == 2
    assert value(text, "tts_requests_total") == 4
    assert value(text, "tts_ttft_duration_seconds_count", engine="tone") == 2
    assert value(text, "tts_cache_hits_total") == 2
    assert value(text, "tts_engine_up", engine="tone") == 1
    assert value(text, "tts_audio_seconds_total", engine="tone") > 1
    assert value(text, "http_requests_total", handler="/synthesize", method="POST", status="2xx") == 1
    assert value(text, "http_requests_total", handler="/synthesize", status="4xx") == 1
    assert value(text, "http_response_size_bytes_sum", handler="/synthesize/stream") > 10_000


async def test_how_good_an_engine_sounds_is_said_to_be_a_rating(client, node):
    text = await read(client)
    assert value(text, "tts_audio_quality_score", engine="tone") == node.settings.selection.quality["tone"]
    (told,) = [line for line in text.splitlines() if line.startswith("# HELP tts_audio_quality_score")]
    assert "rating" in told and "selection.quality" in told and "not measured" in told


async def test_doors_with_nobody_in_them_are_there_and_the_canary_is_nobody(client, node):
    text = await read(client)
    doors = {door: value(text, "tts_active_sessions", door=door) for door in DOORS}
    assert doors == dict.fromkeys(DOORS, 0) and text.count("tts_active_sessions{") == len(DOORS)
    begun = asyncio.create_task(anext(node.say("One two three.", report=Report())))
    await asyncio.sleep(0)
    while not begun.done():
        assert not node.sessions()
        await asyncio.sleep(0)


class TestWithoutCache:
    @pytest.fixture
    def settings(self):
        return Settings.model_validate({**SETTINGS, "cache": {"enabled": False}})

    async def test_the_cache_s_figures_are_there_without_one(self, client):
        text = await read(client)
        assert "tts_cache_hits_total 0.0" in text and "tts_cache_bytes 0.0" in text


async def test_a_caller_s_words_are_no_label(client):
    for path in ("/voices/parrot", "/nowhere/parrot", "/v1/models/parrot"):
        await client.get(path)
    await client.request("PARROT", "/synthesize")
    await ask(client, text="parrot", voice_id="parrot")
    assert "parrot" not in (await read(client)).lower()


def test_a_caller_who_hung_up_is_no_wrong_request():
    metrics = Metrics()
    metrics.on_exchange(Exchange("/synthesize", "POST", 499, 0.1, 0, 0))
    text = generate_latest(metrics.registry).decode()
    assert value(text, "http_requests_total", status="499") == 1 and value(text, "http_requests_total", status="4xx") == 0


@pytest.mark.parametrize(
    ("why", "label"),
    [
        ("piper would be late", "late"),
        ("piper is late: no sound after 0.30 s of work", "late"),
        ("piper rests", "resting"),
        ("hedge: later was faster", "hedge"),
        ("back to the preferred voice", "returned"),
        ("the lanes are too full for piper", "load"),
        ("connection reset", "failed"),
    ],
)
def test_reasons_are_few(why, label):
    assert reason_of(why) == label
