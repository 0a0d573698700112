"""Every body has one shape: the table of the rule, and that it is total."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.gateway.errors import Refused
from agent.gateway.shape import BYTES_FIELDS, JSON_FIELDS, TYPES, decide, decide_format, parse_accept


def shape(*fields, accept=None, named="", response_format="", default="bytes"):
    reply = decide(fields, named=named, response_format=response_format, accept=parse_accept(accept), default=default)
    return reply.shape, reply.rule, reply.format


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (("text", "voice_id", "language", "engine"), ("json", "json_fields")),
        (("text", "voice_id", "voice_clone_reference"), ("json", "json_fields")),
        (("text",), ("bytes", "default")),
        (("text", "format"), ("bytes", "default")),
        (("text", "speaker_id", "speed", "format"), ("json", "json_fields")),
        (("text", "use_cache"), ("json", "json_fields")),
        (("text", "options"), ("bytes", "bytes_fields")),
        (("text", "voice_description", "format"), ("bytes", "bytes_fields")),
        (("text", "options", "voice_id"), ("bytes", "bytes_fields")),
    ],
)
def test_bodies_get_what_their_services_answer(fields, expected):
    assert shape(*fields)[:2] == expected


def test_what_is_said_outright_decides_before_everything_else():
    assert shape("options", response_format="json", accept="audio/wav") == ("json", "response_format", "")
    assert shape("voice_id", response_format="mp3", named="mp3", accept="application/json") == ("bytes", "response_format", "mp3")


@pytest.mark.parametrize(
    ("accept", "named", "expected"),
    [
        ("application/json", "", ("json", "accept", "")),
        ("audio/mpeg", "", ("bytes", "accept", "mp3")),
        ("audio/*", "", ("bytes", "accept", "")),
        ("audio/ogg;q=0.5, audio/flac", "", ("bytes", "accept", "flac")),
        ("audio/wav;q=0.4, application/json;q=0.9", "", ("json", "accept", "wav")),
        ("audio/mpeg, application/json;q=0.9", "wav", ("json", "accept", "wav")),
        ("*/*", "", ("bytes", "default", "")),
        ("audio/mpeg, application/json", "", ("bytes", "default", "mp3")),
        ("text/html, */*;q=0.1", "", ("bytes", "default", "")),
        ("", "mp3", ("bytes", "default", "mp3")),
        ("nonsense", "", ("bytes", "default", "")),
    ],
)
def test_accept_ranks_the_shapes(accept, named, expected):
    assert shape("text", accept=accept, named=named) == expected


@pytest.mark.parametrize(("accept", "named"), [("text/html", ""), ("audio/mpeg", "wav"), ("audio/wav;q=0, application/json;q=0", "wav")])
def test_what_is_not_acceptable_is_406(accept, named):
    with pytest.raises(Refused) as caught:
        shape("text", accept=accept, named=named)
    assert caught.value.status == 406


def test_a_stream_takes_the_format_that_is_accepted():
    assert decide_format("", parse_accept("audio/flac")) == "flac"
    assert decide_format("mp3", None) == "mp3"
    assert decide_format("mp3", parse_accept("application/json"), response_format="mp3") == "mp3"
    for named, words in (("", "audio/*"), ("mp3", "audio/mpeg (the body names mp3)")):
        with pytest.raises(Refused) as caught:
            decide_format(named, parse_accept("application/json"))
        assert caught.value.message == f"Accept: this is answered with {words}"


FIELDS = st.sets(st.sampled_from(sorted({"text", "format", *BYTES_FIELDS, *JSON_FIELDS})))
ACCEPT = (
    st.none() | st.text(max_size=40) | st.lists(st.sampled_from(["*/*", "audio/*;q=0.3", "application/json", "audio/mpeg"])).map(",".join)
)


@given(FIELDS, st.sampled_from(["", *TYPES]), st.sampled_from(["", "json", "mp3"]), ACCEPT, st.sampled_from(["bytes", "json"]))
def test_no_request_has_none_or_two(fields, named, response_format, accept, default):
    try:
        reply = decide(fields, named=named, response_format=response_format, accept=parse_accept(accept), default=default)
    except Refused as refused:
        assert refused.status == 406
    else:
        assert reply.shape in ("bytes", "json")
        assert reply.format in ("", *TYPES)
        assert not named or reply.format == named
