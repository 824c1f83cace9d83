"""What every request finds in its process: the sources, the records, and what the door knows."""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request

from stormsail.delivery.records.answers import Answers
from stormsail.delivery.records.audit import AuditTrail
from stormsail.delivery.records.database import Database
from stormsail.delivery.records.keys import Keys
from stormsail.web.guard.principals import Principal
from stormsail.web.guard.sessions import Sessions
from stormsail.web.news import News
from stormsail.web.settings import WebSettings
from stormsail.web.sources.sources import Sources


@dataclass(frozen=True, slots=True)
class Web:
    """One web process. It keeps nothing that a restart would miss."""

    settings: WebSettings
    sources: Sources
    database: Database
    trail: AuditTrail
    answers: Answers
    keys: Keys
    sessions: Sessions
    news: News
    now_ms: Callable[[], int]


def web_of(request: Request) -> Web:
    """Return the process that a request is in."""
    web: Web = request.app.state.web
    return web


def principal_of(request: Request) -> Principal:
    """Return whoever a request comes from; only what the door lets through has one."""
    principal: Principal = request.state.principal
    return principal
