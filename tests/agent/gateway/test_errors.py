import pytest

from agent.gateway.errors import Refused


def test_one_wrong_field_is_named_in_both_shapes() -> None:
    refused = Refused("unknown_voice", "there is no such voice", 422, field="voice_id")
    assert refused.body("r1") == {
        "success": False,
        "error": "there is no such voice",
        "detail": [{"field": "voice_id", "message": "there is no such voice", "code": "unknown_voice"}],
        "code": "unknown_voice",
        "field": "voice_id",
        "request_id": "r1",
    }
    assert refused.openai_status == 400
    assert refused.openai_body()["error"] == {
        "message": "there is no such voice",
        "type": "invalid_request_error",
        "param": "voice_id",
        "code": "unknown_voice",
    }


def test_a_field_is_called_as_its_caller_calls_it() -> None:
    refused = Refused("unknown_voice", "voice_id: nobody knows 'a'", 422, field="voice_id", retry_after=2.0)
    other = refused.renamed({"voice_id": "voice"})
    assert (other.code, other.status, other.field, other.retry_after) == ("unknown_voice", 422, "voice", 2.0)
    assert other.message == str(other) == "voice: nobody knows 'a'"
    assert refused.renamed({"text": "input"}) is refused


@pytest.mark.parametrize("status", [404, 406, 413, 415, 501])
def test_a_field_is_named_whatever_the_status(status: int) -> None:
    told = Refused("x", "text: no", status, field="text").body("r1")
    assert (told["field"], told["detail"]) == ("text", "text: no")
    assert "field" not in Refused("x", "no", status).body("r1")


@pytest.mark.parametrize(
    ("status", "kind"), [(401, "authentication_error"), (403, "permission_error"), (429, "rate_limit_error"), (503, "server_error")]
)
def test_blame_is_in_the_type(status: int, kind: str) -> None:
    assert Refused("x", "no", status).openai_body()["error"]["type"] == kind


def test_a_wait_is_told_in_whole_seconds_and_never_none() -> None:
    assert Refused("busy", "no", 503, retry_after=0.2).headers == {"Retry-After": "1"}
    assert Refused("busy", "no", 503, retry_after=1.2).headers == {"Retry-After": "2"}
    assert Refused("busy", "no", 503).headers == {}


def test_a_missing_key_says_how_to_send_one() -> None:
    assert Refused("no_key", "no", 401).headers == {"WWW-Authenticate": "Bearer"}
