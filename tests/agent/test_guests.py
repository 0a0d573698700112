from __future__ import annotations

import jwt

from agent.gateway.tokens import Signer
from agent.guests import LASTS, sign

SECRET = "a secret of thirty-two characters, or more"


def claims(token: str) -> dict[str, object]:
    found: dict[str, object] = jwt.decode(token, SECRET, algorithms=["HS256"])
    return found


def test_a_guest_may_listen_and_send_text_and_nothing_else() -> None:
    made = sign("key", SECRET, "lobby")
    found = claims(made.token)
    assert found["sub"] == made.identity
    video = found["video"]
    assert isinstance(video, dict)
    assert (video["roomJoin"], video["room"], video["canSubscribe"], video["canPublishData"]) == (True, "lobby", True, True)
    assert video["canPublish"] is False
    assert not video.keys() & {"roomAdmin", "roomCreate", "roomList", "roomRecord"}


def test_a_pass_ends() -> None:
    found = claims(sign("key", SECRET, "lobby").token)
    assert isinstance(found["exp"], int) and isinstance(found["nbf"], int)
    assert found["exp"] - found["nbf"] == LASTS.total_seconds()


def test_a_pass_is_for_its_room_and_opens_no_door() -> None:
    assert Signer("key", SECRET).read(sign("key", SECRET, "lobby").token).scopes == ()


def test_two_guests_are_two() -> None:
    assert sign("key", SECRET, "lobby").identity != sign("key", SECRET, "lobby").identity


def test_a_node_that_is_sent_for_by_name_is_sent_for() -> None:
    found = claims(sign("key", SECRET, "lobby", agent_name="booth").token)
    assert found["roomConfig"] == {"agents": [{"agentName": "booth"}]}
    assert "roomConfig" not in claims(sign("key", SECRET, "lobby").token)
