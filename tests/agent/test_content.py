import logging
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from agent import content
from agent.config import Settings, SettingsError
from agent.content import FILTERS, FilterUnavailable, make_filter
from agent.node import Node
from pipeline.events import Dropped, SentenceChosen
from pipeline.protocol import Text
from pipeline.script import Script, Wish
from pipeline.stage import StageSettings
from tests.virtual_time import Room, run

WORDS = ("darn", "son of a gun")


def digits(text):
    return [(index, index + 1) for index, character in enumerate(text) if character.isdigit()]


def broken(text):
    raise RuntimeError(text)


@pytest.fixture
def hooks(monkeypatch):
    here = EntryPoints([EntryPoint(name, f"{__name__}:{name}", FILTERS) for name in ("digits", "broken", "missing")])
    monkeypatch.setattr(content, "entry_points", lambda **wanted: here.select(**wanted))


def test_off_lets_everything_through():
    assert make_filter("off", WORDS, "")("Darn it.") == "Darn it."


def test_a_masked_word_leaves_a_pause_and_moves_nothing():
    mask = make_filter("mask", WORDS, "")
    assert mask("Oh DARN it, darned!") == "Oh ………… it, darned!"
    assert mask("You son  of a\ngun, you.") == "You ………  …… …\n………, you."
    assert mask("Nothing of the kind.") == "Nothing of the kind."
    assert mask("Darn!") is None, "nothing is left of it"


def test_a_sentence_with_such_a_word_is_rejected():
    reject = make_filter("reject", WORDS, "")
    assert reject("Oh darn it.") is None and reject("Oh dear.") == "Oh dear."


def test_a_filter_of_ones_own(hooks, caplog):
    assert make_filter("mask", (), "digits")("Call 12 now.") == "Call …… now."
    with caplog.at_level(logging.DEBUG):
        assert make_filter("mask", (), "broken")("My secret.") is None, "one that fails lets nothing through"
    assert "RuntimeError" in caplog.text and "secret" not in caplog.text
    with pytest.raises(FilterUnavailable, match=r"no filter 'other'.*broken, digits, missing"):
        make_filter("reject", (), "other")
    with pytest.raises(FilterUnavailable, match="missing cannot be loaded"):
        make_filter("reject", (), "missing")
    with pytest.raises(SettingsError, match="content_hook"):
        Node(Settings.model_validate({"security": {"content_filter": "mask", "content_hook": "other"}}))


def said(mode, *texts):
    async def go():
        async with Room(settings=StageSettings(allow=make_filter(mode, WORDS, ""))) as room:
            for text in texts:
                room.stage.on_message("up", Text(text=text, utterance="u", final=text is texts[-1]))
            await room.quiet()
            captions = "".join(caption.text for caption in room.captions)
            return [event.text for event in room.told(SentenceChosen)], room.told(Dropped), captions

    return run(go())


def test_in_a_room_it_is_neither_heard_nor_read_however_it_was_cut_up():
    sentences, dropped, captions = said("mask", "Good mor", "ning. Oh da", "rn it. Good", "bye.")
    assert sentences == ["Good morning.", "Oh ………… it.", "Goodbye."] and not dropped
    assert "darn" not in captions and "Oh ………… it." in captions
    sentences, dropped, captions = said("reject", "Good mor", "ning. Oh da", "rn it. Good", "bye.")
    assert sentences == ["Good morning.", "Goodbye."] and "darn" not in captions
    assert [(event.text, event.why) for event in dropped] == [("Oh darn it.", "filtered")]


def test_a_revision_of_what_was_masked_is_known_for_what_it_is():
    script = Script(allow=make_filter("mask", WORDS, ""))
    wish = Wish("en")
    script.on_text("up", Text(text="Oh darn it. And", utterance="u", final=False), wish, now=0.0)
    first = script.next(0.0)
    assert first is not None and first.text == "Oh ………… it."
    script.on_started(first.id, now=0.1)
    script.on_text("up", Text(text="Oh darn it. And more.", utterance="u", revision=1), wish, now=0.2)
    second = script.next(0.2)
    assert second is not None and second.text.strip() == "And more.", "what was heard is not said again"
