"""Signing in and out: an API key becomes a session's cookie, for people with a browser."""

from html import escape
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from stormsail.web.api.context import Here
from stormsail.web.guard.door import KEY_TEXT_MAX
from stormsail.web.guard.sessions import COOKIE, SESSION_MS

router = APIRouter(include_in_schema=False)

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Sign in · Stormsail</title>
<main><h1>Sign in</h1>{said}
<form method="post" action="/sign-in">
<p><label for="key">API key</label><br>
<input id="key" name="key" type="password" autocomplete="current-password" required maxlength="256" autofocus></p>
<p><button>Sign in</button></p></form>
<p>No key? Whoever runs this server makes one with <code>stormsail auth key create</code>.</p></main></html>"""


@router.get("/sign-in")
async def show_sign_in() -> Response:
    """Ask for a key."""
    return _page("")


@router.post("/sign-in")
async def sign_in(web: Here, key: Annotated[str, Form(max_length=KEY_TEXT_MAX)]) -> Response:
    """Begin a session, or say that the key is not good."""
    found = await web.keys.find(key.strip())
    if found is None:
        return _page("That is no key that is good now: it may have ended, or been revoked.", 401)
    _, cookie = web.sessions.begin(found.id, web.now_ms())
    answer = RedirectResponse("/", 303)
    answer.set_cookie(
        COOKIE,
        cookie,
        max_age=SESSION_MS // 1000,
        path="/",
        secure=web.settings.tls_cert is not None,
        httponly=True,
        samesite="strict",
    )
    return answer


@router.post("/sign-out")
async def sign_out(_: Request) -> Response:
    """End the session in this browser."""
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer


def _page(said: str, status: int = 200) -> Response:
    told = f'<p role="alert">{escape(said)}</p>' if said else ""
    return HTMLResponse(_PAGE.format(said=told), status, {"Cache-Control": "no-store"})
