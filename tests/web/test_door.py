"""Who comes through the door: by name, by key, by cookie; from whose page, how much and how often."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from stormsail.delivery.records.keys import Grant, Role
from stormsail.web.guard.door import BODY_MAX
from stormsail.web.guard.limits import RateLimit
from stormsail.web.guard.sessions import COOKIE, SESSION_MS, Sessions, load_secret
from stormsail.web.state import Web
from web.conftest import client_of

PLAN = {"operation_type": "resizeServerGroup", "application": "web", "payload": {}}


class Clock:
    def __init__(self) -> None:
        self.at_s = 100.0

    def __call__(self) -> float:
        return self.at_s


def kind(response: httpx.Response) -> str:
    """Return which problem an answer is."""
    assert response.headers["content-type"] == "application/problem+json"
    said: dict[str, Any] = response.json()
    assert said["status"] == response.status_code
    return str(said["type"]).removeprefix("urn:stormsail:problem:")


def guarded(web: Web, **changes: Any) -> Web:
    """Return the same process, told something else at its start."""
    return replace(web, settings=replace(web.settings, **changes))


async def test_on_loopback_nobody_needs_a_key(lonely: Web) -> None:
    async with client_of(lonely) as client:
        assert (await client.get("/api/v1/audit")).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:7234", ""])
async def test_a_name_that_is_not_ours_is_refused_so_that_no_site_can_rebind_its_own_to_us(
    lonely: Web, host: str
) -> None:
    async with client_of(lonely) as client:
        assert kind(await client.get("/api/v1/audit", headers={"Host": host})) == "wrong-host"
        assert (await client.get("/api/v1/audit", headers={"Host": "localhost:7234"})).status_code == 200
    async with client_of(guarded(lonely, allowed_hosts=("sail.example",))) as client:
        assert (await client.get("/api/v1/audit", headers={"Host": "sail.example"})).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}],
)
async def test_a_change_that_another_sites_page_asks_for_is_refused(lonely: Web, headers: dict[str, str]) -> None:
    async with client_of(lonely) as client:
        assert kind(await client.post("/api/v1/operations/plan", json=PLAN, headers=headers)) == "wrong-origin"
        mine = {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}
        assert kind(await client.post("/api/v1/operations/plan", json=PLAN, headers=mine)) == "invalid"


async def test_where_others_can_come_a_key_is_needed_and_opens_what_it_grants_alone(lonely: Web) -> None:
    _, text = await lonely.keys.create("ci", [Grant(Role.READ, "web", "local")], None)
    async with client_of(guarded(lonely, sign_in=True)) as client:
        response = await client.get("/api/v1/audit")
        assert (kind(response), response.status_code) == ("not-signed-in", 401)
        assert response.headers["www-authenticate"].startswith("Bearer")
        for wrong in ("Bearer ss_x_y", f"Basic {text}", f"Bearer {text}x", "Bearer", "Bearer " + "x" * 5000):
            assert kind(await client.get("/api/v1/audit", headers={"Authorization": wrong})) == "not-signed-in"
        mine = {"Authorization": f"Bearer {text}"}
        assert (await client.get("/api/v1/audit", headers=mine)).status_code == 200
        assert kind(await client.get("/api/v1/audit/export", headers=mine)) == "not-allowed"
        assert kind(await client.get("/api/v1/workflows", headers=mine)) == "not-allowed"
        body = {**PLAN, "account": "local"}
        assert kind(await client.post("/api/v1/operations", json=body, headers=mine)) == "not-allowed"
        assert (await client.get("/healthz")).status_code == 200
        page = await client.get("/")
        assert (page.status_code, page.headers["location"]) == (303, "/sign-in")


async def test_a_wrong_key_is_no_better_than_none_even_on_loopback(lonely: Web) -> None:
    async with client_of(lonely) as client:
        response = await client.get("/api/v1/audit", headers={"Authorization": "Bearer ss_no_body"})
        assert kind(response) == "not-signed-in"


async def test_a_session_reads_with_its_cookie_and_changes_only_with_its_token(lonely: Web) -> None:
    key, text = await lonely.keys.create("ada", [Grant(role) for role in Role], None)
    async with client_of(guarded(lonely, sign_in=True)) as client:
        assert (await client.post("/sign-in", data={"key": "ss_no_body"})).status_code == 401
        signed_in = await client.post("/sign-in", data={"key": text})
        cookie = signed_in.headers["set-cookie"]
        assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/")
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
        assert (await client.get("/api/v1/audit")).status_code == 200
        assert kind(await client.post("/api/v1/operations/plan", json=PLAN)) == "no-csrf-token"
        session = lonely.sessions.read(client.cookies[COOKIE], lonely.now_ms())
        assert session is not None
        token = {"X-CSRF-Token": lonely.sessions.csrf_token(session.id)}
        assert kind(await client.post("/api/v1/operations/plan", json=PLAN, headers=token)) == "invalid"
        other = {"X-CSRF-Token": lonely.sessions.csrf_token("another")}
        assert kind(await client.post("/api/v1/operations/plan", json=PLAN, headers=other)) == "no-csrf-token"
        await lonely.keys.revoke(key.id)
        assert kind(await client.get("/api/v1/audit")) == "not-signed-in"


def test_a_cookie_holds_only_as_it_was_signed_and_until_it_ends(tmp_path: Path) -> None:
    sessions = Sessions(load_secret(tmp_path))
    session, cookie = sessions.begin("k", 1000)
    assert sessions.read(cookie, 1000 + SESSION_MS - 1) == session
    assert sessions.read(cookie, 1000 + SESSION_MS) is None
    said, _, signature = cookie.partition(".")
    for forged in (said, f"{said}.", f"{said}.{signature[:-2]}aa", f"{said}x.{signature}", "", ".", "a" * 5000, "é.é"):
        assert sessions.read(forged, 1000) is None
    assert Sessions(load_secret(tmp_path)).read(cookie, 1000) == session
    assert Sessions(b"x" * 32).read(cookie, 1000) is None
    assert (tmp_path / "web.secret").stat().st_mode & 0o077 == 0


def test_who_asks_more_than_the_limit_waits_for_exactly_as_long_as_it_says() -> None:
    clock = Clock()
    limit = RateLimit(3, 10.0, clock)
    assert [limit.take("ada") for _ in range(4)] == [0, 0, 0, 10]
    clock.at_s += 4
    assert (limit.take("ada"), limit.take("bob")) == (6, 0)
    clock.at_s += 6
    assert [limit.take("ada") for _ in range(4)] == [0, 0, 0, 10]


async def test_too_many_requests_are_refused_with_when_to_come_again(lonely: Web) -> None:
    clock = Clock()
    async with client_of(guarded(lonely, requests_max=2), clock) as client:
        for _ in range(2):
            assert (await client.get("/api/v1/audit")).status_code == 200
        response = await client.get("/api/v1/audit")
        assert (kind(response), response.headers["retry-after"]) == ("too-many-requests", "10")
        clock.at_s += 10
        assert (await client.get("/api/v1/audit")).status_code == 200


async def test_guessing_keys_is_slowed_down_too(lonely: Web) -> None:
    async with client_of(guarded(lonely, requests_max=2, sign_in=True), Clock()) as client:
        kinds = [kind(await client.get("/api/v1/audit", headers={"Authorization": f"Bearer {n}"})) for n in range(3)]
    assert kinds == ["not-signed-in", "not-signed-in", "too-many-requests"]


async def test_a_body_over_the_bound_is_refused_with_and_without_a_length(lonely: Web) -> None:
    async with client_of(lonely) as client:
        big = b" " * (BODY_MAX + 1)
        json = {"Content-Type": "application/json"}
        assert kind(await client.post("/api/v1/operations/plan", content=big, headers=json)) == "too-large"

        async def pieces() -> Any:
            for _ in range(3):
                yield b" " * (BODY_MAX // 2)

        assert kind(await client.post("/api/v1/operations/plan", content=pieces(), headers=json)) == "too-large"


async def test_a_body_that_is_not_json_is_refused_by_its_kind(lonely: Web) -> None:
    async with client_of(lonely) as client:
        for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}, {}):
            response = await client.post("/api/v1/operations/plan", content=b"{}", headers=headers)
            assert (kind(response), response.status_code) == ("unsupported-media-type", 415)
        broken = await client.post(
            "/api/v1/operations/plan", content=b"{", headers={"Content-Type": "application/json; charset=utf-8"}
        )
        assert (kind(broken), broken.status_code) == ("bad-request", 400)


async def test_every_answer_tells_browsers_to_run_nothing_from_elsewhere(lonely: Web) -> None:
    async with client_of(lonely) as client:
        for path in ("/api/v1/audit", "/sign-in", "/nowhere", "/api/v1/openapi.json"):
            policy = (await client.get(path)).headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
