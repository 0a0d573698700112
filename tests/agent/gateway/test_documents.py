"""The OpenAPI page is true: its examples run, and its shape is valid."""

import re
from urllib.parse import urljoin, urlsplit

import aiohttp

from agent.gateway.app import TOLD
from agent.gateway.fields import SpeechBody
from agent.gateway.gate import scope_of


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


async def test_what_the_gate_answers_is_said_of_every_route_behind_it(client):
    async with client.get("/openapi.json") as answer:
        page = await answer.json()
    for path, item in page["paths"].items():
        for method, operation in item.items():
            if scope_of(method.upper(), path) is not None:
                assert {"401", "403", "429", "503"} <= operation["responses"].keys(), (method, path)
                assert "Retry-After" in operation["responses"]["429"]["headers"]


async def test_a_body_that_is_too_large_or_too_slow_is_said_wherever_one_is_read(client):
    async with client.get("/openapi.json") as answer:
        page = await answer.json()
    asked = {(method, path): one for path, item in page["paths"].items() for method, one in item.items() if "requestBody" in one}
    assert ("patch", "/whep/{peer}") in asked
    assert not [place for place, operation in asked.items() if not {"408", "413"} <= operation["responses"].keys()]


async def test_headers_that_an_answer_has_are_listed(client):
    async with client.get("/openapi.json") as answer:
        page = await answer.json()
    async with client.post("/synthesize", json={"text": "Hi.", "engine": "speecht5"}) as answer:
        assert answer.status == 200, await answer.text()
        told = {name.lower() for name in answer.headers if name.lower().startswith("x-")}
    listed = {name.lower() for name in page["paths"]["/synthesize"]["post"]["responses"]["200"]["headers"]}
    assert "x-fallback" in told and told <= listed <= {name.lower() for name in TOLD}


async def test_every_path_names_its_parameters_and_every_reference_is_there(client):
    async with client.get("/openapi.json") as answer:
        raw, page = await answer.text(), await answer.json()
    for path, item in page["paths"].items():
        for operation in item.values():
            named = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path)), path
    known = set(page["components"]["schemas"])
    assert set(re.findall(r'"#/components/schemas/(\w+)"', raw)) <= known


async def test_there_is_a_page_for_people_that_needs_nobody_else(client: aiohttp.ClientSession):
    async with client.get("/docs") as answer:
        page, policy = await answer.text(), answer.headers["Content-Security-Policy"]
        assert (answer.status, answer.content_type) == (200, "text/html")
    assert "http" not in policy and policy.startswith("default-src 'self';")
    named = re.findall(r"(?:src|href)=[\"']?([^\"'> ]+)", page)
    assert len(named) >= 4 and not any(urlsplit(name).netloc for name in named)
    kinds = set()
    for name in named:
        async with client.get(urljoin("/docs", name)) as answer:
            assert answer.status == 200 and await answer.read(), name
            kinds.add(answer.content_type)
    assert kinds == {"text/javascript", "text/css", "image/svg+xml"}
    async with client.get("/web/docs.js") as answer:
        assert "://" not in (script := await answer.text()) and "/openapi.json" in script and "validatorUrl: null" in script


async def test_so_does_the_one_to_be_read(client: aiohttp.ClientSession):
    async with client.get("/redoc") as answer:
        page, policy = await answer.text(), answer.headers["Content-Security-Policy"]
        assert (answer.status, answer.content_type) == (200, "text/html")
    assert "http" not in policy and policy.startswith("default-src 'self';") and 'spec-url="/openapi.json"' in page
    for name in re.findall(r"(?:src|href)=\"([^\"]+)\"", page):
        assert not urlsplit(name).netloc
        async with client.get(name) as answer:
            assert answer.status == 200 and await answer.read(), name


async def test_beside_it_lies_nothing_else(client: aiohttp.ClientSession):
    for name in ("favicon.png", "..%2fcore.py", "%2e%2e/__init__.py", "oauth2-redirect"):
        async with client.get(f"/docs/{name}") as answer:
            assert answer.status == 404, name


async def test_without_its_package_it_says_what_mends_that(client: aiohttp.ClientSession, monkeypatch):
    monkeypatch.setattr("agent.gateway.page.DRAWING", "no_such_package")
    async with client.get("/docs/swagger-ui.css") as answer:
        assert answer.status == 501 and "pip install 'voicebooth[gateway]'" in (await answer.json())["error"]


def test_every_field_is_explained():
    assert not [name for name, field in SpeechBody.model_fields.items() if not field.description]
