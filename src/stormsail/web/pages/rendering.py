"""Templates to responses: a whole page, or only its live part when the page itself asks again.

The live part has an ETag, so asking again for what has not changed costs a hash here and nothing on the way. Instants
at which sources were read change with each reading: they are left out of the ETag and sent beside it.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from stormsail.web.pages.statuses import shown
from stormsail.web.pages.words import (
    instant,
    length_of_time,
    percent_bar,
    pretty,
    segment,
    spaced,
    step_of,
    timeline_address,
)
from stormsail.web.sources.held import Source

FRAGMENT: Final = "Stormsail-Fragment"
"""The header with which a page asks for its live part alone."""

AS_OF: Final = "Stormsail-As-Of"
"""The header that says when each source was read, in the order of the page's sources."""

HTMX: Final = "vendor/htmx-4.0.1.min.js"
STATIC: Final = Path(__file__).resolve().parent.parent / "static"

_FRESH: Final = re.compile(r'data-fresh="\d+" data-at="\d+" data-as="age" datetime="[^"]*">[^<]*<')


@dataclass(frozen=True, slots=True)
class Link:
    """One line of the navigation. `key` names its icon."""

    key: str
    href: str
    label: str


NAVIGATION: Final = (
    Link("overview", "/", "Overview"),
    Link("applications", "/applications", "Applications"),
    Link("operations", "/operations", "Operations"),
    Link("workflows", "/workflows", "Workflows"),
    Link("schedules", "/schedules", "Schedules"),
    Link("workers", "/task-queues", "Workers"),
    Link("audit", "/audit", "Audit"),
    Link("settings", "/settings", "Settings"),
)


def static_digest(directory: Path = STATIC) -> str:
    """Return a hash of all static files: it stands in their address, so browsers may keep them for good."""
    digest = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(directory).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


class Rendering:
    """The templates, and how a response is made of one."""

    def __init__(
        self, *, stream: str = "", footer: Sequence[str] = (), csrf_token: Callable[[Request], str] = lambda _: ""
    ) -> None:
        self.csrf_token = csrf_token
        self.digest = static_digest()
        self.templates = Environment(
            loader=PackageLoader("stormsail.web", "templates"),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.templates.filters |= {
            "instant": instant,
            "length_of_time": length_of_time,
            "pretty": pretty,
            "segment": segment,
            "spaced": spaced,
            "status": shown,
            "step_of": step_of,
        }
        self.templates.globals |= {
            "static": self.static,
            "htmx": HTMX,
            "navigation": NAVIGATION,
            "percent_bar": percent_bar,
            "timeline_address": timeline_address,
            "stream": stream,
            "footer": tuple(footer),
        }

    def static(self, name: str) -> str:
        """Return a static file's address. All are below one digest, so that scripts find each other by name."""
        return f"/static/{self.digest}/{name}"

    def page(
        self,
        request: Request,
        template: str,
        *,
        title: str,
        section: str,
        topics: Sequence[str] = (),
        sources: Sequence[Source] = (),
        status_code: int = 200,
        timeline: bool = False,
        preload: str = "",
        partial: bool = False,
        **shown_here: Any,
    ) -> Response:
        """Render a page, or its live part when only that is asked for; 304 when the asker has it already.

        `timeline` has its script come first of all. `preload` is the address of what the page's scripts ask for first:
        browsers then ask while they still read.
        `partial` has the page ask for its whole live part as soon as it has painted what it got.
        """
        live = self.templates.get_template(template).render(
            request=request, title=title, section=section, topics=tuple(topics), sources=tuple(sources), **shown_here
        )
        etag = f'"{hashlib.sha256(_FRESH.sub("", live).encode()).hexdigest()[:24]}"'
        headers = {
            "Cache-Control": "no-store",
            "ETag": etag,
            "Vary": FRAGMENT,
            FRAGMENT: "1",
            AS_OF: ",".join(str(source.as_of_ms or 0) for source in sources),
        }
        if FRAGMENT in request.headers:
            if request.headers.get("If-None-Match") == etag:
                return Response(status_code=304, headers=headers)
            return HTMLResponse(live, status_code=status_code, headers=headers)
        whole = self.templates.get_template("frame.html").render(
            request=request,
            title=title,
            section=section,
            fragment=Markup(live),  # noqa: S704 - rendered above with everything escaped
            etag=etag,
            csrf_token=self.csrf_token(request),
            timeline=timeline,
            preload=preload,
            partial=partial,
        )
        return HTMLResponse(whole, status_code=status_code, headers={**headers, FRAGMENT: "0"})

    def alone(self, template: str, *, status_code: int = 200, **shown_here: Any) -> HTMLResponse:
        """Render a template by itself: what stands in a dialog, or a page without the frame."""
        text = self.templates.get_template(template).render(**shown_here)
        return HTMLResponse(text, status_code=status_code, headers={"Cache-Control": "no-store"})
