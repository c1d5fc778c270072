"""`/openapi.json`: it is OpenAPI, it is complete, and what it says is true."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi import definitions

from collector import openapi_endpoints, refusal
from collector.adapters import ENDPOINTS, croct_events, croct_models
from collector.adapters.contract import Endpoint
from collector.admin import Route, statuses
from collector.openapi_schemas import ecma
from collector.refusal import METHOD_NOT_ALLOWED, Kind, Refusal
from tests.support import app, pages
from tests.support.process import CollectorProcess

DOCUMENT: dict[str, Any] = {}
ROUTES: list[Route] = []
KEY: Final = {"Authorization": "Bearer zv_demo" + "0" * 39}
HEADERS: Final = {
    "Origin": "http://localhost",
    "X-App-Id": "7e9d59a9-e4b3-45d4-b1c7-48287f1e5e8a",
    "X-Client-Id": "2c9f0f4be1d34f7a8a6d5b1c0e9f7a63",
    "Content-Type": "application/json",
}


@pytest.fixture(autouse=True, scope="module")
def _document(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The document, as a collector with the example configuration serves it."""
    directory = tmp_path_factory.mktemp("openapi")

    async def get() -> None:
        async with app.running(directory) as collector:
            DOCUMENT.update((await collector.request("GET", "/openapi.json")).json)
            ROUTES.extend(collector.edge._admin.routes)

    app.run(get())


def operation(path: str, method: str) -> dict[str, Any]:
    """One operation."""
    found: dict[str, Any] = DOCUMENT["paths"][path][method.lower()]
    return found


def test_it_is_openapi() -> None:
    """The meta-schema of OpenAPI 3.1 has nothing to say, and every part is a JSON schema."""
    validator = jsonschema_rs.validator_for(definitions.OPENAPI_31)
    assert [str(error)[:300] for error in validator.iter_errors(DOCUMENT)] == []
    assert DOCUMENT["openapi"].startswith("3.1")
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert jsonschema_rs.meta.is_valid(schema), name
        assert schema["type"] == "object", name
    text = json.dumps(DOCUMENT)
    for target in set(re.findall(r'"\$ref": "#/components/(\w+)/([\w-]+)"', text)):
        assert target[1] in DOCUMENT["components"][target[0]], target
    names = [
        one["operationId"]
        for path in DOCUMENT["paths"].values()
        for one in path.values()
        if "operationId" in one
    ]
    assert len(names) == len(set(names))


def test_every_endpoint_and_page_is_in_it() -> None:
    """Paths and methods of the tables, and none besides."""
    described = {
        (method.upper(), path)
        for path, methods in DOCUMENT["paths"].items()
        for method in methods
        if not method.startswith("x-") and method not in {"options", "head"}
    }
    own = {("GET", f"/{name}") for name in ("healthz", "readyz", "metrics", "openapi.json")}
    tables = {(one.method, one.path) for one in (*ENDPOINTS, *ROUTES)}
    assert described == tables | own


def test_every_refusal_is_in_it_with_its_status() -> None:
    """Each reason an endpoint can meet stands at the status that the endpoint answers."""
    for endpoint in ENDPOINTS:
        found = operation(endpoint.path, endpoint.method)["responses"]
        for kind in openapi_endpoints.kinds_of(endpoint):
            answered = endpoint.refuse(openapi_endpoints._PROBE, Refusal(kind, "x"), None)
            assert kind.code in found[str(answered.status)]["x-reasons"]
        other = DOCUMENT["paths"][endpoint.path]["x-other-methods"]
        assert METHOD_NOT_ALLOWED.code in other["405"]["description"]


PROTOCOLS: Final = {
    "Scanova browser": lambda one: one.protocol == "scanova" and one.source == "browser",
    "Scanova server": lambda one: one.protocol == "scanova" and one.source == "server",
    "Croct": lambda one: one.protocol == "croct",
    "Zenovay": lambda one: one.protocol == "zenovay",
}


@pytest.mark.parametrize("column", range(4), ids=PROTOCOLS)
def test_it_tells_the_reasons_that_the_table_tells(column: int) -> None:
    """The reasons of each protocol are those of PROTOCOLS.md: no more, no fewer."""
    rows = pages.rows(pages.section(pages.page("docs/PROTOCOLS.md"), "Refusals"))
    possible = {row[0].strip("`") for row in rows if row[2 + column] != "\N{EN DASH}"}
    is_of = list(PROTOCOLS.values())[column]
    told: set[str] = {METHOD_NOT_ALLOWED.code}
    for endpoint in ENDPOINTS:
        if isinstance(endpoint, Endpoint) and is_of(endpoint):
            found = operation(endpoint.path, endpoint.method)
            told |= set(found.get("x-item-reasons", ()))
            for answer in found["responses"].values():
                told |= set(answer.get("x-reasons", ()))
    assert told == possible


def test_no_kind_of_refusal_is_left_out() -> None:
    """Every reason of the code can be met at some endpoint."""
    text = json.dumps(DOCUMENT)
    kinds = [kind.code for kind in vars(refusal).values() if isinstance(kind, Kind)]
    assert [code for code in kinds if code not in text] == []


def test_every_admin_route_tells_all_it_answers() -> None:
    """Statuses of the table; who is let in stands there, too."""
    for route in ROUTES:
        found = operation(route.path, route.method)
        assert set(found["responses"]) == {str(status) for status in statuses(route)}
        assert ("security" in found) != route.is_open


def test_every_example_is_taken(tmp_path: Path) -> None:
    """Whoever copies an example from the document sends an event that is stored."""

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            for endpoint in ENDPOINTS:
                if not isinstance(endpoint, Endpoint):
                    continue
                content = operation(endpoint.path, endpoint.method)["requestBody"]["content"]
                headers = HEADERS | (KEY if endpoint.credentials == "key" else {})
                answer = await collector.request(
                    "POST",
                    endpoint.path,
                    headers=headers,
                    body=content["application/json"]["example"],
                )
                assert answer.status in {200, 204}, (endpoint.path, answer)
                assert not re.search(rb'"(rejected|rejectedCount)":[1-9]', answer.body)

    app.run(play())


PATTERNS: Final = (
    croct_models.UUID,
    croct_models._POINTER,
    croct_models._WEB_URL,
    croct_models._OTHER_URI,
    croct_events.METADATA_KEY,
    croct_events.TIME_ZONE,
)
TEXTS: Final = st.one_of(
    *(st.from_regex(rf"\A(?:{ecma(pattern)})\Z") for pattern in PATTERNS),
    st.text(max_size=20),
    st.sampled_from(["HTTP://x", "https:x", "javascript:x", "a.b[0]", ".", "a..b", "http://a b"]),
)


@given(TEXTS)
@settings(max_examples=100)
def test_patterns_mean_the_same_in_both_spellings(text: str) -> None:
    """What our patterns let pass is what the patterns of the document let pass."""
    for pattern in PATTERNS:
        ours = re.fullmatch(pattern, text) is not None
        assert (re.fullmatch(ecma(pattern), text) is not None) == ours


# --- schemathesis: what is allowed, what is forbidden, and every answer against the document

_EXAMPLES: Final = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "0"))
_CONFIG: Final = Path(__file__).with_name("schemathesis.toml")
# Bodies of two dozen types, most of them long: by chance instead of one by one, unless asked for.
_LONG: Final = "/client/web/track"
# By default each kind of endpoint once, and no HEAD, which is GET without a body.
# Goes on until the client goes, for which this one does not.
_ENDLESS: Final = "/admin/v1/stream"
_ALIKE: Final = ("/collect", "/collect/batch", "/server-events")


def _schemathesis(collector: CollectorProcess, *options: str) -> str:
    """Have it look at a collector; what it printed. Fails when it found anything."""
    found = subprocess.run(
        [
            *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
            *("--config-file", str(_CONFIG), "run", f"{collector.url}/openapi.json"),
            *("--exclude-path", _ENDLESS),
            *("--no-color", "--seed", "1", "--generation-database", "none", *options),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=collector.directory,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


@pytest.mark.end_to_end
def test_nothing_that_schemathesis_sends_is_answered_otherwise(collector: CollectorProcess) -> None:
    """No 5xx, no status, type, field or body that the document does not tell; wrong data refused.

    SCHEMATHESIS_EXAMPLES=1000 sends that many random requests per operation, to all of them.
    """
    if _EXAMPLES:
        phases = ("--phases", "examples,coverage,fuzzing", "--max-examples", str(_EXAMPLES))
        print(_schemathesis(collector, *phases))
    else:
        left_out = [text for path in (*_ALIKE, _LONG) for text in ("--exclude-path", path)]
        _schemathesis(
            collector, "--phases", "examples,coverage", "--exclude-method", "HEAD", *left_out
        )
        _schemathesis(
            collector,
            *("--phases", "examples,fuzzing", "--max-examples", "10", "--include-path", _LONG),
        )
    metrics = collector.request("GET", "/metrics").body.decode()
    assert re.findall(r'status="50[0-2]".*', metrics) == []
