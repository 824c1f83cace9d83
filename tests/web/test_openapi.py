"""Requests made up from our own OpenAPI document: none is answered with a 5xx, and each answer is what it says."""

import asyncio
import contextlib
from pathlib import Path

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from delivery.stage import Stage
from stormsail.web.settings import WebSettings
from stormsail.web.sources.engine import EngineAddress
from web.conftest import PATIENCE_S, client_of
from web.test_serve import serving

EXAMPLES_MAX = 3
"""For each route, as it should be asked and as it should not: about 200 requests in all."""

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


def probe(address: str) -> list[str]:
    """Make up requests for every route, and return which routes were asked."""
    schema = schemathesis.openapi.from_url(f"{address}/api/v1/openapi.json")
    asked = []
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path == "/api/v1/events":
            continue  # It does not end.

        for mode in GenerationMode:

            @settings(
                max_examples=EXAMPLES_MAX,
                deadline=None,
                database=None,
                derandomize=True,
                phases=(Phase.explicit, Phase.generate),
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: schemathesis.Case) -> None:
                case.call_and_validate(checks=CHECKS, timeout=60)

            # Not every route can be asked wrongly.
            with contextlib.suppress(Unsatisfiable):
                ask()
        asked.append(f"{operation.method.upper()} {operation.path}")
    return asked


async def test_no_request_that_the_document_allows_is_answered_with_a_5xx(stage: Stage, tmp_path: Path) -> None:
    assert (await stage.deploy("v1")).ok
    at = EngineAddress(stage.address, task_queue=stage.account)
    served = WebSettings(tmp_path, at, port=0, accounts=(stage.account,), requests_max=100_000, deadline_s=PATIENCE_S)
    async with serving(served) as address:
        asked = await asyncio.to_thread(probe, address)
    assert len(asked) >= 30


async def test_the_document_describes_every_route_with_its_problems(lonely: object) -> None:
    async with client_of(lonely) as client:  # type: ignore[arg-type]
        document = (await client.get("/api/v1/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            assert {"401", "403", "422", "429"} <= set(said["responses"]), (method, path)
            assert said["description"], (method, path)
            if method in ("post", "delete") and not path.endswith(("/plan", "/query")):
                names = {parameter["name"].lower() for parameter in said["parameters"]}
                assert {"idempotency-key", "if-match"} <= names, (method, path)
