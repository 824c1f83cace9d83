"""All routes of /api/v1, and the document that describes them."""

from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from stormsail.web.api import audit, deployed, events, operations, schedules, workflows
from stormsail.web.problems import ProblemView

PREFIX = "/api/v1"

router = APIRouter(prefix=PREFIX)
for part in (deployed, operations, workflows, schedules, audit, events):
    router.include_router(part.router)


def openapi_of(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document: what FastAPI sees of the routes, with our problems and the ways to sign in."""
    if app.openapi_schema:
        return app.openapi_schema
    document = get_openapi(
        title="Stormsail",
        version=app.version,
        description="What operators see of deployments and workflows, and steer them with. docs/api.md says more.",
        routes=app.routes,
    )
    document["paths"] = {path: said for path, said in document["paths"].items() if path.startswith(PREFIX)}
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    problem = TypeAdapter(ProblemView).json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    document["components"]["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "An API key of `stormsail auth key create`."}
    }
    document["security"] = [{}, {"key": []}]
    app.openapi_schema = document
    return document
