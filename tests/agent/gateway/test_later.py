from agent.gateway.later import ROUTES


async def test_each_says_that_it_is_not_built_yet(client):
    for method, path in ROUTES:
        async with client.request(method, path.replace("{id}", "x").replace("{name}", "x")) as answer:
            body = await answer.json()
            assert (answer.status, body["code"], body["success"]) == (501, "not_supported", False), path
            assert path in body["error"]
