from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.offer import CANDIDATES, OFFER_BYTES, OfferRefused, read, read_fragment

SOUND = """m=audio 9 UDP/TLS/RTP/SAVPF 111 0
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:Ufra
a=ice-pwd:p123456789012345678901
a=fingerprint:sha-256 {print}
a=setup:actpass
a=mid:0
a=recvonly
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:0 PCMU/8000
""".format(print=":".join(["AB"] * 32))
CHANNEL = """m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=ice-ufrag:Ufra
a=ice-pwd:p123456789012345678901
a=fingerprint:sha-256 {print}
a=setup:actpass
a=mid:1
a=sctp-port:5000
a=max-message-size:262144
""".format(print=":".join(["AB"] * 32))
HEAD = "v=0\no=- 1 2 IN IP4 127.0.0.1\ns=-\nt=0 0\na=group:BUNDLE 0 1\n"
OFFER = HEAD + SOUND + CHANNEL


def wire(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


def refusal(raw: bytes) -> OfferRefused:
    with pytest.raises(OfferRefused) as caught:
        read(raw)
    return caught.value


def test_a_browser_s_offer_is_taken() -> None:
    offer = read(wire(OFFER))
    assert offer.sdp == wire(OFFER).decode()
    assert offer.username == "Ufra"


def test_an_offer_may_do_without_a_data_channel() -> None:
    assert read(wire(HEAD + SOUND)).username == "Ufra"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "not SDP"),
        (b"hello", "not SDP"),
        (b"{}", "not SDP"),
        (b"\xff\xfe", "not UTF-8"),
        (b"v=0\r\nm=audio\r\n", "not SDP that can be read"),
        (wire(HEAD), "one audio section"),
        (wire(HEAD + CHANNEL), "one audio section"),
        (wire(OFFER + SOUND.replace("mid:0", "mid:2")), "one audio section"),
        (wire(OFFER + CHANNEL), "one audio section"),
        (wire(OFFER + SOUND.replace("m=audio", "m=video").replace("opus/48000/2", "VP8/90000")), "one audio section"),
        (wire(OFFER.replace("recvonly", "sendonly")), "sendonly: this node only speaks"),
        (wire(OFFER.replace("recvonly", "inactive")), "inactive: this node only speaks"),
        (wire(OFFER.replace("opus/48000/2", "speex/16000")), "does not offer Opus"),
    ],
)
def test_what_is_no_offer_is_refused_in_words(raw: bytes, words: str) -> None:
    error = refusal(raw)
    assert error.code == "bad_offer"
    assert words in str(error)


def test_an_offer_has_a_bound() -> None:
    assert refusal(wire(OFFER) + b"a=x\r\n" * OFFER_BYTES).code == "too_large"


def candidate(address: str, transport: str = "udp", port: int = 9000) -> str:
    return f"a=candidate:1 1 {transport} 2122260223 {address} {port} typ host\n"


def test_addresses_that_cannot_be_used_are_left_out() -> None:
    kept, hidden = candidate("192.0.2.7"), candidate("4f2a.local")
    offer = read(wire(OFFER.replace("a=recvonly\n", "a=recvonly\n" + kept + hidden + candidate("192.0.2.8", "tcp"))))
    assert [line for line in offer.sdp.splitlines() if "candidate" in line] == [kept.strip()]


def test_no_more_addresses_are_tried_than_a_machine_has() -> None:
    many = "".join(candidate("192.0.2.7", port=port) for port in range(9000, 9000 + 3 * CANDIDATES))
    offer = read(wire(OFFER.replace("a=recvonly\n", "a=recvonly\n" + many)))
    assert offer.sdp.count("a=candidate:") == CANDIDATES


def test_a_peer_that_names_no_useful_address_may_still_come() -> None:
    offer = read(wire(OFFER.replace("a=recvonly\n", "a=recvonly\na=end-of-candidates\n")))
    assert "end-of-candidates" not in offer.sdp


@given(st.binary(max_size=300))
def test_garbage_is_refused(raw: bytes) -> None:
    assert refusal(raw).code == "bad_offer"


@given(st.data())
def test_a_damaged_offer_is_taken_or_refused(data: st.DataObject) -> None:
    """Nothing else comes out of it."""
    lines = OFFER.splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(lines) - 1))
        lines[place] = data.draw(
            st.sampled_from(["", lines[place][:4], lines[place] + " 1", "m=", "a=mid:", "a=group:BUNDLE", "m=audio x y z"])
        )
    with contextlib.suppress(OfferRefused):
        read(wire("\n".join(lines) + "\n"))


def test_more_addresses_are_read() -> None:
    fragment = read_fragment(
        wire("a=ice-ufrag:Ufra\na=ice-pwd:x\nm=audio 9 RTP/AVP 0\na=mid:0\n" + candidate("192.0.2.7") + candidate("x.local"))
    )
    assert fragment.username == "Ufra"
    assert [(one.ip, one.port, one.sdpMid) for one in fragment.candidates] == [("192.0.2.7", 9000, "0")]


@given(st.binary(max_size=200))
def test_garbage_names_no_address(raw: bytes) -> None:
    with contextlib.suppress(OfferRefused):
        assert read_fragment(raw).candidates == ()


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(OfferRefused, match="not a candidate"):
        read_fragment(b"a=candidate:1 x udp y 192.0.2.7 z typ host\r\n")
