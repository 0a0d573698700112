import asyncio
import threading

from agent.mailbox import Mailbox


async def test_letters_come_in_order_with_one_ring_for_many():
    rings = 0

    def ring() -> None:
        nonlocal rings
        rings += 1

    box: Mailbox[int] = Mailbox(10, asyncio.get_running_loop(), ring)
    assert all(box.post(n) for n in range(5))
    await asyncio.sleep(0)
    assert rings == 1
    assert [box.take() for _ in range(6)] == [0, 1, 2, 3, 4, None]


async def test_what_does_not_fit_is_refused_and_counted_except_urgent_letters():
    box: Mailbox[str] = Mailbox(2, asyncio.get_running_loop(), lambda: None)
    assert box.post("a") and box.post("b")
    assert not box.post("c")
    assert box.post("left", urgent=True)
    assert (len(box), box.refused) == (3, 1)


async def test_many_threads_lose_nothing():
    box: Mailbox[tuple[int, int]] = Mailbox(1000, asyncio.get_running_loop(), lambda: None)

    def write(writer: int) -> None:
        for n in range(100):
            box.post((writer, n))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = [box.take() for _ in range(len(box))]
    for writer in range(4):
        assert [n for w, n in taken if w == writer] == list(range(100))


def test_posting_to_a_loop_that_has_ended_is_no_error():
    loop = asyncio.new_event_loop()
    box: Mailbox[int] = Mailbox(1, loop, lambda: None)
    loop.close()
    assert box.post(1)
