import jwt
import pytest
from livekit import api

from agent.gateway.keyring import ADMIN, SPEAK
from agent.gateway.tokens import BadToken, Signer, is_token

SECRET = "a secret of thirty-two characters!"
SIGNER = Signer("key", SECRET)


def token(key="key", secret=SECRET, **grants):
    made = api.AccessToken(key, secret).with_identity("translator")
    return made.with_grants(api.VideoGrants(room_join=True, room="lobby", **grants))


def test_whoever_may_send_text_in_a_room_may_speak_here():
    bearer = SIGNER.read(token().to_jwt())
    assert (bearer.identity, bearer.scopes) == ("translator", (SPEAK,)) and bearer.until > 0
    assert SIGNER.read(token(can_publish_data=False).to_jwt()).scopes == ()


def test_an_attribute_names_what_a_token_is_good_for():
    assert SIGNER.read(token().with_attributes({"voicebooth.scopes": "admin"}).to_jwt()).scopes == (SPEAK, ADMIN)
    assert SIGNER.read(token().with_attributes({"voicebooth.scopes": "nothing"}).to_jwt()).scopes == ()


def test_nobody_makes_himself_an_operator():
    """LiveKit signs anew what a participant who may change his own attributes has made of them."""
    made = token(can_update_own_metadata=True)
    assert SIGNER.read(made.with_attributes({"voicebooth.scopes": "admin"}).to_jwt()).scopes == (SPEAK,)
    assert SIGNER.read(made.with_attributes({"voicebooth.scopes": "room"}).to_jwt()).scopes == ()


@pytest.mark.parametrize(
    "made",
    [
        token(secret="another secret of thirty-two chars").to_jwt(),
        token(key="other").to_jwt(),
        token().to_jwt()[:-2] + "xx",
        jwt.encode({"iss": "key", "sub": "a", "exp": 9e9}, "", algorithm="none"),
        jwt.encode({"iss": "key", "sub": "a"}, SECRET, algorithm="HS256"),
        jwt.encode({"iss": "key", "sub": "a", "exp": 1}, SECRET, algorithm="HS256"),
        jwt.encode({"iss": "key", "sub": "a", "exp": 9e9}, SECRET * 2, algorithm="HS512"),
        "ey.ey.ey",
        "ey..",
    ],
)
def test_no_other_token_opens_anything(made):
    assert is_token(made)
    with pytest.raises(BadToken):
        SIGNER.read(made)


def test_what_everybody_knows_is_no_secret():
    signer = Signer("devkey", "secret")
    assert not signer.is_usable
    with pytest.raises(BadToken, match="no LiveKit secret"):
        signer.read(token("devkey", "secret").to_jwt())


def test_a_key_is_no_token():
    assert not is_token("vb_abcdef") and not is_token("eyJ")
