from dataclasses import dataclass

from agent.gateway.kept import OVERHEAD, Replies, digest
from pipeline.cache import CacheSettings


@dataclass
class Reply:
    data: bytes


def test_what_is_asked_for_least_makes_room_and_what_is_old_goes():
    replies = Replies(CacheSettings(memory_mb=3 * (1_000 + OVERHEAD) / 1e6, ttl_seconds=60))
    for number in range(3):
        replies.keep(digest(number), Reply(bytes(1_000)), 0.0)
    assert replies.find(digest(0), 1.0)
    replies.keep(digest(3), Reply(bytes(1_000)), 2.0)
    assert [bool(replies.find(digest(number), 3.0)) for number in range(4)] == [True, False, True, True]
    assert not replies.find(digest(0), 61.0)
    assert len(replies._replies) == 3
    replies.clear()
    assert not replies.find(digest(3), 3.0) and not replies._replies


def test_where_nothing_is_cached_no_reply_is():
    replies = Replies(CacheSettings(enabled=False))
    replies.keep(b"a", Reply(b"b"), 0.0)
    assert replies.find(b"a", 0.0) is None and not replies._replies


def test_everything_that_differs_makes_another_key():
    assert digest("a", 1) != digest("a", 1.5) != digest("a1")
    assert digest("\ud800")
