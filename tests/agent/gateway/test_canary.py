from agent.config import Settings
from agent.gateway.canary import Canary
from agent.node import Node
from tests.agent.gateway.conftest import SETTINGS


async def test_it_speaks_and_leaves_no_trace_in_the_figures(node):
    canary = Canary(node)
    await canary.speak()
    assert (canary.problem, canary.engine) == ("", "tone")
    assert node.report.counts == {}
    assert node.studio.cache.stats().entries == 0


async def test_silence_is_not_speech(node, monkeypatch):
    canary = Canary(node)

    async def silence(*args, **named):
        if False:
            yield

    monkeypatch.setattr(node, "say", silence)
    await canary.speak()
    assert canary.problem == "no sound came"
    assert not canary.is_heard(0.0)


async def test_without_any_engine_it_says_why():
    async with Node(Settings.model_validate({**SETTINGS, "selection": {"fallback_chain": ["parrot"]}})) as node:
        canary = Canary(node)
        await canary.run()
        assert "no engine can speak here" in canary.problem
