from agent.gateway.bounds import Exchange
from agent.gateway.traffic import Traffic


def test_requests_are_counted_while_they_last_and_after():
    told = []
    traffic = Traffic(told.append)
    for status in (200, 404, 503):
        traffic.on_request()
        assert traffic.active == 1
        traffic.on_exchange(Exchange("/x", "GET", status, 0.1, 0, 0))
    assert (traffic.total, traffic.active, traffic.errors, len(told)) == (3, 0, 1, 3)


def test_an_answer_that_broke_off_is_an_error_and_a_caller_who_hung_up_is_none():
    traffic = Traffic()
    for status, is_fault in ((200, True), (503, True), (499, False)):
        traffic.on_request()
        traffic.on_exchange(Exchange("/x", "GET", status, 0.1, 0, 0, is_fault))
    assert (traffic.total, traffic.active, traffic.errors) == (3, 0, 2)
