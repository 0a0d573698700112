import aiohttp
import pytest
from fastapi import FastAPI

from agent.gateway.serving import DoorFailed, Doors
from agent.gateway.settings import ServerSettings, WsSettings


async def test_every_port_answers_and_none_does_after_it() -> None:
    app = FastAPI()
    app.get("/")(lambda: "here")
    async with aiohttp.ClientSession() as client:
        async with Doors(app, ServerSettings(ports=(0, 0)), WsSettings()) as doors:
            assert len(set(doors.addresses)) == 2
            for address in doors.addresses:
                async with client.get(address) as answer:
                    assert await answer.json() == "here"
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.get(doors.addresses[0])


async def test_a_port_that_is_taken_is_named_with_what_mends_it() -> None:
    async with Doors(FastAPI(), ServerSettings(ports=(0,)), WsSettings()) as doors:
        port = int(doors.addresses[0].rpartition(":")[2])
        with pytest.raises(DoorFailed, match=rf"port {port} on 127.0.0.1 is in use already; set server.ports"):
            await Doors(FastAPI(), ServerSettings(ports=(0, port)), WsSettings()).__aenter__()


async def test_a_host_that_is_not_here_is_named() -> None:
    with pytest.raises(DoorFailed, match=r"server.host 'nowhere.invalid' is no address"):
        await Doors(FastAPI(), ServerSettings(host="nowhere.invalid", ports=(0,)), WsSettings()).__aenter__()
