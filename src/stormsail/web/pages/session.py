"""Signing in and out: an API key becomes a session's cookie, for people with a browser."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import RedirectResponse, Response

from stormsail.web.guard.door import KEY_TEXT_MAX
from stormsail.web.guard.sessions import COOKIE, SESSION_MS
from stormsail.web.pages.asking import Pages
from stormsail.web.state import Web, web_of

router = APIRouter(include_in_schema=False)


@router.get("/sign-in")
async def show_sign_in(pages: Pages) -> Response:
    """Ask for a key."""
    return pages.alone("sign_in.html", said="")


@router.post("/sign-in")
async def sign_in(
    web: Annotated[Web, Depends(web_of)], pages: Pages, key: Annotated[str, Form(max_length=KEY_TEXT_MAX)]
) -> Response:
    """Begin a session, or say that the key is not good."""
    found = await web.keys.find(key.strip())
    if found is None:
        said = "That is no key that is good now: it may have ended, or been revoked."
        return pages.alone("sign_in.html", status_code=401, said=said)
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
