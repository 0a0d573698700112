import aiohttp


async def test_it_says_how_it_is(client: aiohttp.ClientSession) -> None:
    async with client.get("/health") as answer:
        assert (answer.status, (await answer.json())["healthy"]) == (200, True)
