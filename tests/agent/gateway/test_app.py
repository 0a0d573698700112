import aiohttp

from tests.agent.gateway.test_metrics import read, value


async def test_a_path_that_is_not_there_is_told_in_the_shape_of_its_family(client: aiohttp.ClientSession) -> None:
    async with client.get("/nowhere") as answer:
        body = await answer.json()
        assert (answer.status, body["success"], body["code"]) == (404, False, "not_found")
    async with client.get("/v1/nowhere") as answer:
        body = await answer.json()
        assert (answer.status, body["error"]["code"], body["error"]["type"]) == (404, "not_found", "invalid_request_error")


async def test_a_method_that_is_not_taken_names_those_that_are(client: aiohttp.ClientSession) -> None:
    async with client.delete("/health") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    async with client.put("/synthesize") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, POST")
        assert (await answer.json())["code"] == "method_not_allowed"


async def test_a_fault_of_ours_is_told_without_its_insides(client, node, monkeypatch):
    def broken(*wanted: object) -> None:
        raise ZeroDivisionError("secret")

    with monkeypatch.context() as patch:
        patch.setattr(type(node.studio), "offers", property(broken))
        async with client.get("/voices", headers={"X-Request-ID": "mine"}) as answer:
            body = await answer.json()
            assert (answer.status, body["code"], body["request_id"]) == (500, "internal", "mine")
            assert answer.headers["X-Request-ID"] == "mine" and "secret" not in str(body)
        async with client.get("/v1/models") as answer:
            assert (answer.status, (await answer.json())["error"]["type"]) == (500, "server_error")
    async with client.get("/stats") as answer:
        assert (await answer.json())["requests"]["errors"] == 2
    assert value(await read(client), "http_requests_total", handler="/voices", method="GET", status="5xx") == 1
