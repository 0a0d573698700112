import pytest

from agent.gateway.app import make_app
from agent.gateway.places import matching, method_of, path_of


@pytest.mark.parametrize(
    ("method", "path", "place"),
    [
        ("GET", "/voices/parrot", "/voices/{name}"),
        ("DELETE", "/synthesize", "/synthesize"),
        ("GET", "/v1/models/parrot", "/v1/models/{id}"),
        ("GET", "/parrot", "none"),
    ],
)
async def test_a_request_is_for_a_route_whether_or_not_it_came_so_far(node, method, path, place):
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "app": make_app(node)}
    assert path_of(scope) == place
    methods = {name for route in matching(scope) for name in route.methods}
    assert "GET" in methods or place == "none"


def test_without_an_application_it_is_for_none():
    assert path_of({"type": "http"}) == "none"


def test_a_caller_s_own_method_is_none():
    assert [method_of({"method": method}) for method in ("PUT", "PARROT")] == ["PUT", "OTHER"]
