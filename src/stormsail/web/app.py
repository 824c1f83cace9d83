"""The web application: routes and middleware around the sources. It starts and works while every source is away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from stormsail.web.api import read
from stormsail.web.pages.routes import install_pages
from stormsail.web.sources.sources import Sources


def create_app(sources: Sources) -> FastAPI:
    """Return the ASGI application. Nothing is asked of any source before a request needs it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await sources.engine.delivery.close()

    app = FastAPI(
        title="Stormsail",
        version=version("stormsail"),
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.sources = sources
    app.include_router(read.router)
    # Last: an address that no route before it knows is told as a page.
    install_pages(app, stream="", footer=(f"engine {sources.engine.at.address}",))
    return app
