import asyncio

import pytest

from agent.gateway.socket.outbox import Journal, Letter, Outbox


def letter(text):
    return Letter(text, is_counted=True)


def test_messages_leave_in_order_and_a_notice_before_them():
    outbox = Outbox(100)
    for text in ("a", "b"):
        outbox.put(letter(text))
    outbox.put_first(letter("!"))
    assert (len(outbox), outbox.size) == (3, 3)
    assert [outbox.take().payload for _ in range(3)] == ["!", "a", "b"]
    assert outbox.take() is None and outbox.size == 0


async def test_who_reads_the_client_waits_while_it_is_full():
    outbox = Outbox(2)
    for text in ("a", "b", "c"):
        outbox.put(letter(text))
    waiting = asyncio.ensure_future(outbox.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    outbox.take()
    await asyncio.wait_for(waiting, 1)


def test_what_is_not_confirmed_can_be_sent_again():
    journal = Journal(10)
    assert [journal.add(text) for text in ("a", b"bb", "c")] == [0, 1, 2]
    journal.confirm(1)
    assert list(journal.since(1)) == [(1, b"bb"), (2, "c")]
    assert list(journal.since(3)) == [] and journal.next == 3
    assert journal.add("d") == 3


@pytest.mark.parametrize("number", [-1, 0, 99])
def test_a_confirmation_that_makes_no_sense_changes_nothing_else(number):
    journal = Journal(10)
    journal.add("a")
    journal.confirm(number)
    assert journal.add("b") == 1


def test_what_may_be_unconfirmed_is_bounded():
    journal = Journal(3)
    journal.add("abc")
    assert not journal.is_full
    journal.add("d")
    assert journal.is_full
    journal.confirm(1)
    assert not journal.is_full
