"""What a browser offers before aiortc reads it: refused with words where it is no offer to listen, freed of what would only cost time."""

from __future__ import annotations

from dataclasses import dataclass

from aiortc import RTCIceCandidate
from aiortc.sdp import SessionDescription, candidate_from_sdp

OFFER_BYTES = 64 * 1024  # a browser's offer for one track and one channel is 3 KB
CANDIDATES = 32  # addresses at which a peer may be tried: each costs packets to wherever it says; a laptop has a handful
CANDIDATE = "a=candidate:"


class OfferRefused(Exception):
    """It cannot be answered; ``str()`` says why, for people, and ``code`` for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Fragment:
    """What is sent after an offer: more addresses of the peer."""

    username: str
    """The ICE user fragment that they belong to; empty when it is not named."""
    candidates: tuple[RTCIceCandidate, ...]


@dataclass(frozen=True, slots=True)
class Offer:
    sdp: str
    username: str
    """The ICE user fragment of its session."""


def read(raw: bytes) -> Offer:
    """The offer, checked. Raises :exc:`OfferRefused`."""
    text = _text(raw)
    if not text.startswith("v=0"):
        raise OfferRefused("bad_offer", "not SDP: an offer begins with the line `v=0`")
    try:
        offer = SessionDescription.parse(text)
    except Exception as error:  # the parser says what it did not expect by whatever Python raises
        raise OfferRefused("bad_offer", "not SDP that can be read: a line of it is broken") from error
    return Offer(_thinned(text), _check(offer))


def read_fragment(raw: bytes) -> Fragment:
    """What a ``PATCH`` brings (RFC 8840). Raises :exc:`OfferRefused`."""
    username, mid = "", ""
    candidates: list[RTCIceCandidate] = []
    for line in _text(raw).split("\r\n" if b"\r\n" in raw else "\n"):
        name, _, value = line.partition(":")
        match name:
            case "a=ice-ufrag":
                username = value
            case "a=mid":
                mid = value
            case "a=candidate" if _is_useful(line) and len(candidates) < CANDIDATES:
                candidates.append(_candidate(value, mid))
    return Fragment(username, tuple(candidates))


def _text(raw: bytes) -> str:
    if len(raw) > OFFER_BYTES:
        raise OfferRefused("too_large", f"an offer holds at most {OFFER_BYTES} bytes, this one {len(raw)}")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise OfferRefused("bad_offer", "not SDP: it is not UTF-8") from error


def _check(offer: SessionDescription) -> str:
    """Its ICE user fragment."""
    sound = [media for media in offer.media if media.kind == "audio"]
    others = [media for media in offer.media if media.kind != "audio"]
    if len(sound) != 1 or len(others) > 1 or any(media.kind != "application" for media in others):
        raise OfferRefused("bad_offer", "an offer here has one audio section, at most one data channel section, and nothing else")
    if sound[0].direction not in ("recvonly", "sendrecv"):
        raise OfferRefused("bad_offer", f"the audio section is {sound[0].direction or 'without a direction'}: this node only speaks")
    if not any(codec.mimeType.lower() == "audio/opus" for codec in sound[0].rtp.codecs):
        raise OfferRefused("bad_offer", "the audio section does not offer Opus, and this node speaks nothing else")
    return (sound[0].ice and sound[0].ice.usernameFragment) or ""


def _thinned(text: str) -> str:
    """Without the addresses that cannot be used, and not more than are tried. Nor is their end believed: a peer that cannot be
    reached at any of them may still reach us."""
    lines, kept = [], 0
    for line in text.splitlines(keepends=True):
        if line.startswith("a=end-of-candidates"):
            continue
        if line.startswith(CANDIDATE):
            if kept >= CANDIDATES or not _is_useful(line):
                continue
            kept += 1
        lines.append(line)
    return "".join(lines)


def _is_useful(line: str) -> bool:
    """A name ending in ``.local`` hides an address that shows itself with the peer's first packet; asking for it takes a second."""
    parts = line.split()
    return len(parts) > 5 and parts[2].lower() == "udp" and not parts[4].endswith(".local")


def _candidate(value: str, mid: str) -> RTCIceCandidate:
    try:
        candidate = candidate_from_sdp(value)
    except Exception as error:  # as above
        raise OfferRefused("bad_offer", f"not a candidate: {value[:100]}") from error
    candidate.sdpMid, candidate.sdpMLineIndex = (mid, None) if mid else (None, 0)
    return candidate
