"""What every call passes before its handler: parsing, and the rules about the namespace that it names."""

from collections.abc import Coroutine, Mapping
from typing import Any, Final

import structlog
from google.protobuf.message import DecodeError, Message
from temporalio.api.enums.v1 import NamespaceState
from temporalio.api.errordetails.v1 import NamespaceInvalidStateFailure
from temporalio.api.workflowservice.v1 import RespondWorkflowTaskCompletedRequest

from stormsail.engine.api import validate
from stormsail.engine.api.keys import Keys
from stormsail.engine.api.methods import METHODS, Method
from stormsail.engine.api.rights import RIGHTS
from stormsail.engine.api.transport import Call, Rpc
from stormsail.engine.core.errors import FailedPrecondition, InvalidArgument, NamespaceNotFound, Unimplemented
from stormsail.engine.shell.engine import NAMING_NAMESPACES, Engine
from stormsail.engine.store.namespaces import StoredNamespace

_log: Final = structlog.get_logger(__name__)
_FINDS_IT_ITSELF: Final = frozenset({"RegisterNamespace", "DescribeNamespace", "DeleteNamespace"})
"""Calls whose namespace need not exist."""
_OPTIONAL: Final = frozenset({"AddSearchAttributes", "RemoveSearchAttributes", "ListSearchAttributes"})
_NEEDS_REGISTERED: Final = frozenset({"StartWorkflowExecution", "SignalWithStartWorkflowExecution"})
_REGISTERED: Final = NamespaceState.NAMESPACE_STATE_REGISTERED
_USABLE: Final = (_REGISTERED, NamespaceState.NAMESPACE_STATE_DEPRECATED)


def bind(engine: Engine, keys: Keys | None = None) -> Mapping[str, Rpc]:
    """Return every method as the transport takes it; what is not served says so and names itself. With `keys`, nobody
    is served without one that gives the right to what is asked."""
    return {path: _bound(engine, method, keys) for path, method in METHODS.items()}


def _bound(engine: Engine, method: Method, keys: Keys | None) -> Rpc:
    handler = method.handler
    if handler is None:
        told: list[str] = []

        async def unserved(call: Call, _request: bytes) -> bytes:
            if not told:  # once a method: a client that polls for it would fill the log
                told.append(call.peer)
                _log.info("method_not_served", method=method.name, client=call.metadata.get("client-name", ""))
            raise Unimplemented(
                f"{method.name} is not served by Stormsail's engine; docs/protocol.md lists what is."
                " A Temporal cluster serves it, and the same code runs on one."
            )

        return unserved

    parse, fields = method.request.FromString, method.request.DESCRIPTOR.fields_by_name
    has_token = "task_token" in fields
    check = _NamespaceRule(engine, method, has_token=has_token).check if "namespace" in fields else None
    right = RIGHTS[method.name]

    def served(call: Call, body: bytes) -> Coroutine[Any, Any, bytes | Message]:
        principal = None if keys is None else keys.principal(call.metadata.get("authorization", ""))
        try:
            request: Any = parse(body)
        except DecodeError:
            raise InvalidArgument(f"the request is no {method.request.DESCRIPTOR.full_name}") from None
        if principal is not None:
            principal.require(method.name, right, _namespaces_of(request))
        if has_token and not request.task_token:
            raise InvalidArgument("Task token not set on request.")
        if check is not None:
            check(request)
        return handler(engine, call, request)

    return served


def _namespaces_of(request: Any) -> set[str]:
    """Return the namespaces that a request is about: its own, empty where it names none or names it by its id, and
    those that a worker's commands reach into."""
    named = {"" if _named_by_id(request) else getattr(request, "namespace", "")}
    if isinstance(request, RespondWorkflowTaskCompletedRequest):
        for command in request.commands:
            field = NAMING_NAMESPACES.get(command.command_type)
            if field is not None and (other := getattr(command, field).namespace):
                named.add(other)
    return named


class _NamespaceRule:
    """Holds a request against the namespace that it names."""

    def __init__(self, engine: Engine, method: Method, *, has_token: bool) -> None:
        self._has_token = has_token
        self._namespaces = engine.store.namespaces
        self._limits = engine.limits
        self._method = method
        self._passed: StoredNamespace | None = None
        """The namespace that passed last, as it was then."""

    def check(self, request: Any) -> None:
        """Refuse a namespace that is not set, unknown, or in a state that forbids the call.

        A request with a task token may leave it out: the token names it too, and is compared where it is decoded.
        """
        name: str = request.namespace
        found = self._namespaces.get(name)
        if found is not None and found is self._passed:
            return
        if validate.too_long(name, self._limits):
            raise InvalidArgument("Namespace length exceeds limit.")
        if not name:
            by_id = _named_by_id(request)
            if self._has_token or by_id or self._method.name in _OPTIONAL:
                return
            raise InvalidArgument("Namespace not set on request.")
        if self._method.name in _FINDS_IT_ITSELF:
            return
        if found is None:
            raise NamespaceNotFound(name)
        allowed = (_REGISTERED,) if self._method.name in _NEEDS_REGISTERED else _USABLE
        state = found.described.namespace_info.state
        if state not in allowed:
            names = " or ".join(_state_name(each) for each in allowed)
            raise FailedPrecondition(
                f"Namespace has invalid state: {_state_name(state)}. Must be {names}.",
                NamespaceInvalidStateFailure(namespace=name, state=state, allowed_states=allowed),
            )
        self._passed = found


def _named_by_id(request: Any) -> bool:
    """Whether a request may name its namespace by its id, and does."""
    return bool(getattr(request, "id", "") or getattr(request, "namespace_id", ""))


def _state_name(state: NamespaceState.ValueType) -> str:
    return NamespaceState.Name(state).removeprefix("NAMESPACE_STATE_").title()
