"""RPCs of OperatorService."""

from google.protobuf.message import Message
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest, ListSearchAttributesResponse

from stormsail.engine.api import search_attributes
from stormsail.engine.api.transport import Call
from stormsail.engine.shell.engine import Engine


async def list_search_attributes(_engine: Engine, _: Call, _request: ListSearchAttributesRequest) -> Message:
    """List the search attributes: all are the system's, custom ones cannot be registered yet."""
    return ListSearchAttributesResponse(system_attributes={**search_attributes.SYSTEM, **search_attributes.SETTABLE})
