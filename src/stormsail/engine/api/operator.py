"""RPCs of OperatorService: custom search attributes, and the end of namespaces."""

from google.protobuf.message import Message
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    AddSearchAttributesResponse,
    DeleteNamespaceRequest,
    DeleteNamespaceResponse,
    ListSearchAttributesRequest,
    ListSearchAttributesResponse,
    RemoveSearchAttributesRequest,
    RemoveSearchAttributesResponse,
)

from stormsail.engine.api.transport import Call
from stormsail.engine.core.errors import FailedPrecondition, InvalidArgument, NamespaceNotFound
from stormsail.engine.core.search_attributes import PREDEFINED, SYSTEM, TYPE_NAMES, is_reserved
from stormsail.engine.shell.engine import Engine


async def add_search_attributes(engine: Engine, _: Call, request: AddSearchAttributesRequest) -> Message:
    """Register search attributes in a namespace; those of a known name stay as they are."""
    if not request.search_attributes:
        raise InvalidArgument("SearchAttributes are not set on request.")
    for name, value_type in request.search_attributes.items():
        if is_reserved(name):
            raise InvalidArgument(f"Search attribute {name} is reserved by system.")
        if value_type and value_type not in TYPE_NAMES:
            raise InvalidArgument(f"Unknown search attribute type: {value_type}.")
    _check_namespace(request.namespace)
    await engine.store.search_attributes.add(request.namespace, request.search_attributes)
    return AddSearchAttributesResponse()


async def remove_search_attributes(engine: Engine, _: Call, request: RemoveSearchAttributesRequest) -> Message:
    """Take search attributes back; unknown ones are passed over."""
    if not request.search_attributes:
        raise InvalidArgument("SearchAttributes are not set on request.")
    _check_namespace(request.namespace)
    await engine.store.search_attributes.remove(request.namespace, request.search_attributes)
    return RemoveSearchAttributesResponse()


async def list_search_attributes(engine: Engine, _: Call, request: ListSearchAttributesRequest) -> Message:
    """List a namespace's search attributes: the server's own, and those registered."""
    _check_namespace(request.namespace)
    custom = engine.store.search_attributes.custom(request.namespace)
    return ListSearchAttributesResponse(
        system_attributes={**SYSTEM, **PREDEFINED},
        custom_attributes={name: one.value_type for name, one in custom.items()},
    )


async def delete_namespace(engine: Engine, _: Call, request: DeleteNamespaceRequest) -> Message:
    """Delete a namespace with its runs and schedules. Its name is gone at once, and all else soon."""
    if request.namespace and request.namespace_id:
        raise InvalidArgument("Only one of namespace name or Id should be set on request.")
    namespaces = engine.store.namespaces
    found = namespaces.get_by_id(request.namespace_id) if request.namespace_id else namespaces.get(request.namespace)
    if found is None:
        raise NamespaceNotFound(request.namespace or request.namespace_id)
    if found.emptied:
        raise FailedPrecondition(f"namespace {found.name} is deleted already")
    return DeleteNamespaceResponse(deleted_namespace=await engine.removal.remove(found))


def _check_namespace(namespace: str) -> None:
    if not namespace:
        raise InvalidArgument("Namespace is not set on request.")
