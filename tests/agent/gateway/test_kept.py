from dataclasses import dataclass, replace

from agent.gateway.kept import OVERHEAD, Replies, digest
from pipeline.cache import CacheSettings, no_stats


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


def test_one_that_was_made_of_what_is_old_goes_with_it():
    replies = Replies(CacheSettings(ttl_seconds=60))
    replies.keep(b"a", Reply(b"b"), 0.0, age=20.0)
    assert replies.find(b"a", 39.0) and not replies.find(b"a", 40.0)
    replies.keep(b"a", Reply(b"b"), 40.0)
    assert replies.find(b"a", 99.0), "made anew"


def test_they_are_counted_with_the_sentences():
    settings = CacheSettings(memory_mb=1, size_mb=5, max_entries=10)
    replies = Replies(settings)
    sentences = replace(no_stats(settings), enabled=True, entries=3, size_bytes=500, memory_bytes=100, total_hits=7)
    replies.keep(digest(0), Reply(bytes(1_000)), 0.0)
    both = replies.beside(sentences)
    assert (both.entries, both.size_bytes, both.memory_bytes) == (4, 1_500 + OVERHEAD, 1_100 + OVERHEAD)
    assert (both.max_bytes, both.max_entries, both.total_hits) == (6_000_000, 20, 7)
    assert Replies(CacheSettings(enabled=False)).beside(no_stats(settings)) == no_stats(settings)


def test_where_nothing_is_cached_no_reply_is():
    replies = Replies(CacheSettings(enabled=False))
    replies.keep(b"a", Reply(b"b"), 0.0)
    assert replies.find(b"a", 0.0) is None and not replies._replies


def test_everything_that_differs_makes_another_key():
    assert digest("a", 1) != digest("a", 1.5) != digest("a1")
    assert digest("\ud800")
