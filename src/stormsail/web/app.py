"""The web application: routes and the door around the sources. It starts and works while every source is away."""

import asyncio
import getpass
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from stormsail.delivery.records.answers import Answers
from stormsail.delivery.records.audit import AuditTrail
from stormsail.delivery.records.database import Database, RecordsUnavailable
from stormsail.delivery.records.keys import Key, Keys, NoSuchKey
from stormsail.web.api.router import PREFIX, openapi_of, router
from stormsail.web.changes.failures import invalid
from stormsail.web.guard.door import Door, Doorkeeper, loopback_hosts, too_large
from stormsail.web.guard.limits import RateLimit
from stormsail.web.guard.principals import local_principal
from stormsail.web.guard.sessions import Sessions, load_secret
from stormsail.web.news import News
from stormsail.web.pages import session
from stormsail.web.pages.routes import install_pages
from stormsail.web.problems import Problem, answer_of
from stormsail.web.settings import WebSettings
from stormsail.web.sources.sources import Sources
from stormsail.web.state import Web
from stormsail.web.watch import Watcher

log = logging.getLogger(__name__)


def open_web(settings: WebSettings, sources: Sources, database: Database) -> Web:
    """Return what every request finds in this process."""
    trail = AuditTrail(database)
    return Web(
        settings=settings,
        sources=sources,
        database=database,
        trail=trail,
        answers=Answers(database, trail),
        keys=Keys(database),
        sessions=Sessions(load_secret(settings.data_dir)),
        news=News(),
        now_ms=sources.now_ms,
    )


def create_app(web: Web, now_s: Callable[[], float] = time.monotonic) -> FastAPI:
    """Return the ASGI application. Nothing is asked of any source before a request needs it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await web.trail.settle(web.settings.audit_days)
        await web.answers.drop_old()
        watching = asyncio.create_task(Watcher(web.sources, web.trail, web.news).run())
        yield
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await web.sources.engine.delivery.close()
        await web.database.close()

    app = FastAPI(
        title="Stormsail",
        version=version("stormsail"),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.web = web
    app.state.sources = web.sources
    app.add_middleware(Door, keeper=_keeper(web, now_s))
    app.include_router(router)
    app.include_router(session.router)
    app.add_api_route(f"{PREFIX}/openapi.json", lambda: JSONResponse(openapi_of(app)), include_in_schema=False)
    app.add_api_route("/healthz", lambda: JSONResponse({"ok": True}), include_in_schema=False)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RecordsUnavailable, _records_away)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(Exception, _bug)
    # Last: an address that no route before it knows is told as a page.
    install_pages(app, stream=f"{PREFIX}/events", footer=(f"engine {web.sources.engine.at.address}",))
    return app


def _keeper(web: Web, now_s: Callable[[], float]) -> Doorkeeper:
    settings = web.settings
    open_here = settings.is_local and not settings.sign_in
    hosts = frozenset(settings.allowed_hosts)
    if settings.is_local:
        hosts |= loopback_hosts(settings.host)

    async def get_key(identity: str) -> Key | None:
        try:
            return await web.keys.get(identity)
        except NoSuchKey:
            return None

    return Doorkeeper(
        local=local_principal(getpass.getuser()) if open_here else None,
        find_key=web.keys.find,
        get_key=get_key,
        sessions=web.sessions,
        limit=RateLimit(settings.requests_max, settings.requests_span_s, now_s),
        hosts=hosts,
        now_ms=web.now_ms,
        secure=settings.tls_cert is not None,
    )


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return answer_of(error)


async def _records_away(_: Request, error: Exception) -> Response:
    return answer_of(Problem("records-away", str(error), "look at the disk or the database", retry_after_s=5))


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = []
    for one in error.errors():
        if one["type"] == "json_invalid":
            return answer_of(Problem("bad-request", "the body is not JSON", "send JSON", field="body", rule="JSON"))
        found.append((".".join(str(part) for part in one["loc"][1:]) or str(one["loc"][0]), str(one["msg"])))
    return answer_of(invalid(found))


async def _plain(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    match error.status_code:
        case 404:
            problem = Problem("not-found", "nothing is at this address", f"{PREFIX}/openapi.json lists what is there")
        case 405:
            problem = Problem("method-not-allowed", "this cannot be done here", f"see {PREFIX}/openapi.json")
        case 413:
            problem = too_large()
        case _:
            problem = Problem("bad-request", str(error.detail), f"see {PREFIX}/openapi.json")
    response = answer_of(problem)
    response.headers.update(error.headers or {})
    return response


async def _bug(request: Request, error: Exception) -> Response:
    log.exception("%s %s failed", request.method, request.url.path, exc_info=error)
    return answer_of(Problem("internal", "something went wrong that should not", "see the log of the page's process"))
