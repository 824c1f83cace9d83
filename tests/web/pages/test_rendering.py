"""Templates to responses: whole pages, live parts, and nothing at all when nothing changed."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from stormsail.web.pages.rendering import AS_OF, FRAGMENT, Rendering
from stormsail.web.sources.held import Source, SourceStatus

RENDERING = Rendering(footer=("engine here",))


def asked(**headers: str) -> Request:
    raw = [(name.lower().replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/x", "headers": raw, "query_string": b""})


def problem(request: Request, message: str = "lost", sources: tuple[Source, ...] = ()) -> Response:
    shown: dict[str, Any] = {"message": message, "links": ()}
    return RENDERING.page(request, "problem.html", title="Lost", section="", sources=sources, **shown)


def text(response: Response) -> str:
    return bytes(response.body).decode()


def test_what_comes_from_elsewhere_is_escaped() -> None:
    page = text(problem(asked(), message="<script>alert(1)</script>"))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_page_holds_no_script_or_style_of_its_own() -> None:
    page = text(problem(asked()))
    assert "<style" not in page
    assert " style=" not in page
    assert " onclick=" not in page
    assert all(piece.startswith(" src=") for piece in page.split("<script")[1:])


def test_the_live_part_comes_alone_and_its_etag_answers_that_nothing_changed() -> None:
    whole = problem(asked())
    live = problem(asked(Stormsail_Fragment="1"))
    assert whole.headers["ETag"] == live.headers["ETag"]
    assert whole.headers[FRAGMENT] == "0"
    assert live.headers[FRAGMENT] == "1"
    assert text(live).strip().startswith('<div id="live"')
    assert text(live) in text(whole)
    again = problem(asked(Stormsail_Fragment="1", If_None_Match=live.headers["ETag"]))
    assert (again.status_code, bytes(again.body)) == (304, b"")
    other = problem(asked(Stormsail_Fragment="1", If_None_Match=live.headers["ETag"]), message="found")
    assert (other.status_code, "found" in text(other)) == (200, True)


def test_a_source_that_is_away_is_told_with_its_age_and_one_never_read_is_not_an_empty_list() -> None:
    stale = Source("engine", SourceStatus.STALE, 1_700_000_000_000, 5_000, "it does not answer")
    failed = Source("account blue", SourceStatus.FAILED, None, None, "no worker")
    response = problem(asked(), sources=(stale, failed))
    page = text(response)
    assert "Engine does not answer." in page
    assert 'data-at="1700000000000"' in page
    assert "Account blue does not answer,</b> and has not since this page's server began." in page
    assert response.headers[AS_OF] == "1700000000000,0"


def test_static_files_are_found_below_one_digest() -> None:
    page = text(problem(asked()))
    assert f"/static/{RENDERING.digest}/app.css" in page
    assert f"/static/{RENDERING.digest}/vendor/htmx" in page
