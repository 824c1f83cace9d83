"""Pages for people who came with a key: what they may not see or do is not offered, and changes carry their token."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest

from stormsail.delivery.records.keys import Grant, Role
from stormsail.web.state import Web
from web.conftest import client_of


@asynccontextmanager
async def signed_in(web: Web, *grants: Grant) -> AsyncIterator[httpx.AsyncClient]:
    """Sign in with a new key that has these grants."""
    _, key = await web.keys.create("ada", grants, None)
    async with client_of(replace(web, settings=replace(web.settings, sign_in=True))) as client:
        answer = await client.post("/sign-in", data={"key": key})
        assert answer.status_code == 303
        yield client


async def test_whoever_has_not_signed_in_is_sent_to_where_they_can(lonely: Web) -> None:
    async with client_of(replace(lonely, settings=replace(lonely.settings, sign_in=True))) as client:
        answer = await client.get("/operations")
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
        shown = await client.get("/sign-in")
        assert '<label for="key">API key</label>' in shown.text
        refused = await client.post("/sign-in", data={"key": "no-such-key"})
        assert (refused.status_code, "no key that is good" in refused.text) == (401, True)


@pytest.mark.slow  # An engine that is away takes a second to be given up.
async def test_a_page_carries_the_token_without_which_its_changes_are_turned_down(lonely: Web) -> None:
    async with signed_in(lonely, Grant(Role.READ), Grant(Role.EXECUTE)) as client:
        page = (await client.get("/settings")).text
        token = re.search(r'"X-CSRF-Token": "([^"]+)"', page)
        assert token is not None
        fields = {"schedule": "nightly", "reason": "a test"}
        without = await client.post("/actions/pause/plan", data=fields)
        assert (without.status_code, "no-csrf-token" in without.text) == (403, True)
        # With it the change is looked at; the engine is away here, and that is what is told.
        carried = await client.post("/actions/pause/plan", data=fields, headers={"X-CSRF-Token": token[1]})
        assert carried.status_code == 200
        assert "no-csrf-token" not in carried.text


async def test_pages_are_for_whoever_reads_everything_and_tell_others_which_grant_they_lack(lonely: Web) -> None:
    async with signed_in(lonely, Grant(Role.READ, "web")) as client:
        for path in ("/", "/workflows", "/settings", "/workflows/order-1/0190/timeline.json", "/actions/pause"):
            answer = await client.get(path)
            assert (answer.status_code, "ask for a key with the grant read:*@*" in answer.text) == (403, True)


async def test_somebody_who_only_reads_is_offered_no_change_and_makes_none(lonely: Web) -> None:
    async with signed_in(lonely, Grant(Role.READ)) as client:
        page = (await client.get("/settings")).text
        assert page.count("on every application in every account") == 1
        token = re.search(r'"X-CSRF-Token": "([^"]+)"', page)
        assert token is not None
        fields = {"workflow": "order-1", "run": "0190", "reason": "a test", "idempotency_key": "one"}
        answer = await client.post("/actions/terminate", data=fields, headers={"X-CSRF-Token": token[1]})
        assert "has no execute on everything" in answer.text
