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
