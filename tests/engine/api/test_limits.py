"""Every limit of a single request: what is just within it passes, one more and a hundred times as much do not."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsRequest

from engine.api.conftest import serving
from engine.api.limit_rows import MIB, OPEN, ROWS, Row, start
from engine.api.limit_scripts import SCRIPTS, Script
from engine.api.rpc import Rpc, status
from stormsail.engine.core.limits import DEFAULT_LIMITS

pytestmark = pytest.mark.asyncio(loop_scope="module")

SENT_MAX = 8 * MIB
"""More is not sent: the message's own limit is 4 MiB."""
LONG = ("signals_max",)
"""Limits whose true value takes a minute over gRPC; the core's own test has it too."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rpc(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rpc]:
    """A client of one server for all rows, with an open run on it."""
    directory: Path = tmp_path_factory.mktemp("limits")
    async for client in serving(directory):
        await client.call(start(workflow_id=OPEN))
        yield client


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_one_more_than_the_limit_is_refused(rpc: Rpc, row: Row) -> None:
    assert (await status(rpc, row.request(row.most)))[0] == row.passes
    code, text = await status(rpc, row.request(row.most + 1))
    assert (code, row.text in text) == (row.code, True), text
    code, text = await status(rpc, row.request(min(row.most * 100, max(SENT_MAX, row.most + 1))))
    assert code == (row.large or row.code), text


@pytest.mark.parametrize("page_size", [1_000, 1_001, 100_000, 0, -1])
async def test_a_page_that_is_too_large_is_as_large_as_may_be(rpc: Rpc, page_size: int) -> None:
    listed = await rpc.call(ListWorkflowExecutionsRequest(namespace="default", page_size=page_size))
    assert len(listed.executions) >= 1


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=SCRIPTS, ids=lambda script: script.name)
async def strict(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Rpc, Script]]:
    """A client of a server that allows three of something."""
    script: Script = request.param
    few: Any = {script.field: 3}
    async for client in serving(tmp_path_factory.mktemp("strict"), replace(DEFAULT_LIMITS, **few)):
        yield client, script


@pytest.mark.parametrize("many", [3, 4, 300])
async def test_a_run_may_have_so_many_and_no_more(strict: tuple[Rpc, Script], many: int) -> None:
    rpc, script = strict
    code, text = await script.run(rpc, many)
    if many == 3:
        assert (code, text) == ("OK", "")
    else:
        assert (code, script.text in text) == (script.code, True), text


TRUE_VALUES = [pytest.param(each, marks=[pytest.mark.long] if each.field in LONG else []) for each in SCRIPTS]


@pytest.mark.slow
@pytest.mark.parametrize("script", TRUE_VALUES, ids=lambda script: script.name)
async def test_the_limit_holds_at_its_true_value(rpc: Rpc, script: Script) -> None:
    assert getattr(DEFAULT_LIMITS, script.field) == script.most
    assert await script.run(rpc, script.most) == ("OK", "")
    code, text = await script.run(rpc, script.most + 1)
    assert (code, script.text in text) == (script.code, True), text
