import pytest

from agent.gateway.batch import Batch
from agent.gateway.errors import Refused


def bodies(**batch):
    return Batch.check(batch).bodies(5)


def test_what_one_item_says_goes_before_what_holds_for_all():
    items = [{"text": "a", "voice": "x"}, {"text": "b", "options": {"speed": 2.0}}, {"text": "c", "tts_config": {"speaker_id": "z"}}]
    assert bodies(items=items, options={"voice_id": "y"}) == [
        {"text": "a", "voice": "x", "options": {}},
        {"text": "b", "options": {"voice_id": "y", "speed": 2.0}},
        {"text": "c", "tts_config": {"speaker_id": "z"}, "options": {}},
    ]


def test_every_block_and_every_field_holds_for_all():
    blocks = {"batch_config": {"output_format": "mp3", "parallel_processing": False}, "voice_config": {"speed": 1.5}}
    assert bodies(texts=["a"], **blocks, use_cache=False, colour="red") == [
        {"text": "a", "batch_config": {"output_format": "mp3"}, "voice_config": {"speed": 1.5}, "use_cache": False, "colour": "red"}
    ]
    assert bodies(items=[{"text": "a", "format": "ogg"}], **blocks, output_format="wav") == [
        {"text": "a", "format": "ogg", "batch_config": {}, "voice_config": {"speed": 1.5}}
    ]
    assert not Batch.check({"texts": ["a"], **blocks}).is_parallel


@pytest.mark.parametrize("name", ["texts", "items"])
def test_one_too_many_is_said_of_the_list_that_was_sent(name):
    with pytest.raises(Refused) as refused:
        bodies(**{name: [{"text": "a"} if name == "items" else "a"] * 6})
    assert (refused.value.status, refused.value.field) == (413, name)


def test_a_text_that_would_hold_for_all_is_refused():
    with pytest.raises(Refused) as refused:
        bodies(texts=["a"], input="b")
    assert (refused.value.code, refused.value.field) == ("conflicting_fields", "input")
