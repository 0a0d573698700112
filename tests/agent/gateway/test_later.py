import pytest

from agent.gateway.later import ROUTES


async def test_each_says_that_it_is_not_built_yet(client):
    for method, path in ROUTES:
        async with client.request(method, path.replace("{id}", "x").replace("{name}", "x")) as answer:
            body = await answer.json()
            assert (answer.status, body["code"], body["success"]) == (501, "not_supported", False), path
            assert path in body["error"]


@pytest.mark.parametrize("path", ["/models/foo", "/models/foo/bar", "/models/load", "/server/optimize", "/server/anything"])
async def test_so_does_whatever_else_is_under_their_folders(client, path):
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        async with client.request(method, path) as answer:
            assert (answer.status, (await answer.json())["code"]) == (501, "not_supported"), method


async def test_what_is_there_stays_there(client):
    async with client.get("/models?flat=1") as answer:
        assert answer.status == 200 and isinstance(await answer.json(), list)
    for path, status in (("/models/", 200), ("/server", 404), ("/modelsx", 404), ("/v1/models/parrot", 404)):
        async with client.get(path) as answer:
            assert answer.status == status, path
