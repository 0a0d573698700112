"""The OpenAPI page is true: its examples run, and its shape is valid."""

import re

import aiohttp

from agent.gateway.fields import SpeechBody


async def test_every_example_of_a_body_runs(client):
    async with client.get("/openapi.json") as answer:
        page = await answer.json()
    count = 0
    for path, item in page["paths"].items():
        for method, operation in item.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            for name, example in content.get("examples", {}).items():
                async with client.request(method, path, json=example["value"]) as answer:
                    assert answer.status == 200, (path, name, await answer.text())
                    kind = answer.headers["content-type"].partition(";")[0]
                    assert kind in operation["responses"]["200"]["content"], (path, name, kind)
                    count += 1
    assert count >= 10


async def test_every_path_names_its_parameters_and_every_reference_is_there(client):
    async with client.get("/openapi.json") as answer:
        raw, page = await answer.text(), await answer.json()
    for path, item in page["paths"].items():
        for operation in item.values():
            named = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path)), path
    known = set(page["components"]["schemas"])
    assert set(re.findall(r'"#/components/schemas/(\w+)"', raw)) <= known


async def test_there_is_a_page_for_people(client: aiohttp.ClientSession):
    async with client.get("/docs") as answer:
        assert (answer.status, "swagger" in (await answer.text()).lower()) == (200, True)


def test_every_field_is_explained():
    assert not [name for name, field in SpeechBody.model_fields.items() if not field.description]
