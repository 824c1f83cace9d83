"""The door that every request goes through: whose name it was sent to, who sends it, from whose page, how much.

Written as plain ASGI, because event streams must pass through unbuffered.
"""

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stormsail.delivery.records.database import RecordsUnavailable
from stormsail.delivery.records.keys import Key, Role
from stormsail.web.guard.limits import RateLimit
from stormsail.web.guard.principals import Principal, principal_of
from stormsail.web.guard.sessions import COOKIE, Sessions
from stormsail.web.problems import Problem, answer_of

BODY_MAX: Final = 1024 * 1024
KEY_TEXT_MAX: Final = 256

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
OPEN: Final = ("/static/", "/sign-in", "/sign-out", "/healthz", "/favicon.ico")
"""What anybody may ask for: nothing of it says anything about what is deployed."""

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """What the door needs to know."""

    local: Principal | None
    """Who comes without a key; None where everybody needs one."""
    find_key: Callable[[str], Awaitable[Key | None]]
    get_key: Callable[[str], Awaitable[Key | None]]
    sessions: Sessions
    limit: RateLimit
    hosts: frozenset[str]
    """The names that we may be asked under; empty means any. Loopback's are listed, against DNS rebinding."""
    now_ms: Callable[[], int]
    secure: bool = False


class Door:
    """The middleware. The principal is left in the request's state as `principal`."""

    def __init__(self, app: ASGIApp, keeper: Doorkeeper) -> None:
        self._app = app
        self._keeper = keeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if self._keeper.secure:
                    headers.setdefault("Strict-Transport-Security", "max-age=31536000")
            await send(message)

        try:
            turned_away = await self._turned_away(scope)
        except Problem as problem:
            turned_away = answer_of(problem)
        except RecordsUnavailable as error:
            turned_away = answer_of(Problem("records-away", str(error), "look at the disk or the database"))
        if turned_away is not None:
            await turned_away(scope, receive, send_guarded)
            return
        await self._app(scope, _bounded(receive), send_guarded)

    async def _turned_away(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        path: str = scope["path"]
        self._check_host(headers)
        self._check_length(headers)
        principal, by_cookie = await self._principal(headers)
        if principal is None and not path.startswith(OPEN):
            # Who guesses keys is slowed down like everybody else.
            self._count(f"nobody at {(scope.get('client') or ('?',))[0]}")
            if path.startswith("/api/") or scope["method"] not in SAFE:
                raise Problem(
                    "not-signed-in",
                    "no key that is good was sent",
                    "send `Authorization: Bearer KEY`; `stormsail auth key create` makes one",
                )
            return RedirectResponse("/sign-in", 303)
        if principal is not None and not path.startswith(("/api/", *OPEN)):
            # Pages show everything at once. The API shows to each what its grants give.
            principal.must(Role.READ)
        if scope["method"] not in SAFE:
            self._check_origin(headers)
            _check_kind(headers, path)
            if by_cookie and principal is not None and path != "/sign-in":
                self._check_token(headers, principal)
        counted = path.startswith("/api/") or scope["method"] not in SAFE
        if counted:
            self._count(principal.name if principal is not None else f"nobody at {(scope.get('client') or ('?',))[0]}")
        scope.setdefault("state", {})["principal"] = principal
        return None

    def _check_host(self, headers: Headers) -> None:
        host = headers.get("host", "")
        if self._keeper.hosts and _name_of(host) not in self._keeper.hosts:
            raise Problem(
                "wrong-host",
                f"host {_name_of(host)!r} is not a name of this server",
                "use the address that `stormsail up` printed, or name the host with --allowed-host",
                field="Host",
                rule="one of the names that this server was given",
            )

    def _check_length(self, headers: Headers) -> None:
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > BODY_MAX:
            raise too_large()

    async def _principal(self, headers: Headers) -> tuple[Principal | None, bool]:
        keeper = self._keeper
        authorization = headers.get("authorization", "")
        if authorization:
            scheme, _, text = authorization.partition(" ")
            key = (
                await keeper.find_key(text.strip()) if scheme.lower() == "bearer" and len(text) < KEY_TEXT_MAX else None
            )
            # A wrong key is not forgiven on loopback either: whoever sends one means it.
            return (principal_of(key) if key is not None else None), False
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        session = keeper.sessions.read(cookie, keeper.now_ms()) if cookie else None
        if session is not None:
            key = await keeper.get_key(session.key_id)
            if key is not None and key.is_good(keeper.now_ms()):
                return principal_of(key, session.id), True
        return keeper.local, False

    def _check_origin(self, headers: Headers) -> None:
        """Refuse changes that another site's page asks for: browsers say where a request comes from."""
        origin, host = headers.get("origin", ""), headers.get("host", "")
        foreign = bool(origin) and origin.partition("://")[2] != host
        if foreign or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise Problem(
                "wrong-origin",
                "the request was made by another site's page",
                "make changes from this server's own page, or with an API key from a program",
                field="Origin",
                rule="the server's own address, or absent",
            )

    def _check_token(self, headers: Headers, principal: Principal) -> None:
        if not self._keeper.sessions.is_csrf_token(principal.session, headers.get("x-csrf-token", "")):
            raise Problem(
                "no-csrf-token",
                "a change by cookie needs the page's token",
                "send the token of the page in X-CSRF-Token, or an API key in place of the cookie",
                field="X-CSRF-Token",
                rule="the token that this session's pages carry",
            )

    def _count(self, principal: str) -> None:
        wait_s = self._keeper.limit.take(principal)
        if wait_s:
            raise Problem(
                "too-many-requests",
                f"more than {self._keeper.limit.requests} requests in {self._keeper.limit.span_s:g} s",
                f"come again in {wait_s} s, or follow /api/v1/events in place of asking again and again",
                retry_after_s=wait_s,
            )


def loopback_hosts(host: str) -> frozenset[str]:
    """Return the names that a loopback server may be asked under."""
    return frozenset({"localhost", "127.0.0.1", "::1", host})


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_kind(headers: Headers, path: str) -> None:
    """Take JSON alone over the API: browsers ask first before they send that to another site."""
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if path.startswith("/api/") and has_body and kind != "application/json":
        raise Problem(
            "unsupported-media-type",
            f"the body is {kind or 'of no kind that is told'}",
            "send JSON with `Content-Type: application/json`",
            field="Content-Type",
            rule="application/json",
        )


def _name_of(host: str) -> str:
    """Return a Host header's name without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _bounded(receive: Receive) -> Receive:
    """Stop reading a body past the bound: one without a length may never end."""
    read = 0

    async def bounded() -> Message:
        nonlocal read
        message = await receive()
        if message["type"] == "http.request":
            read += len(message.get("body", b""))
            if read > BODY_MAX:
                # Frameworks take any other exception in the middle of a body for a body that cannot be read.
                raise HTTPException(413)
        return message

    return bounded


def too_large() -> Problem:
    """Return the problem of a body over the bound."""
    return Problem(
        "too-large",
        f"the body is over {BODY_MAX} bytes",
        "send less",
        field="body",
        rule=f"at most {BODY_MAX} bytes",
    )
