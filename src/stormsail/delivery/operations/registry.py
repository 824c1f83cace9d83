"""Which operation a request means: the table of all operations, and the way from an untyped payload to a typed one."""

import difflib
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from stormsail.delivery.model.operation import OperationError, OperationRequest, workflow_id_of
from stormsail.delivery.operations.clone_server_group import CloneServerGroupInput, CloneServerGroupOperation
from stormsail.delivery.operations.cloud import OperationFailure
from stormsail.delivery.operations.create_server_group import CreateServerGroupInput, CreateServerGroupOperation
from stormsail.delivery.operations.delete_load_balancer import DeleteLoadBalancerInput, DeleteLoadBalancerOperation
from stormsail.delivery.operations.delete_security_group import DeleteSecurityGroupInput, DeleteSecurityGroupOperation
from stormsail.delivery.operations.destroy_server_group import DestroyServerGroupInput, DestroyServerGroupOperation
from stormsail.delivery.operations.disable_server_group import DisableServerGroupInput, DisableServerGroupOperation
from stormsail.delivery.operations.enable_server_group import EnableServerGroupInput, EnableServerGroupOperation
from stormsail.delivery.operations.operation import OperationInput, Registered, invalid
from stormsail.delivery.operations.register_instances import (
    DeregisterInstancesOperation,
    RegisterInstancesInput,
    RegisterInstancesOperation,
)
from stormsail.delivery.operations.resize_server_group import ResizeServerGroupInput, ResizeServerGroupOperation
from stormsail.delivery.operations.rollback_server_group import RollbackServerGroupInput, RollbackServerGroupOperation
from stormsail.delivery.operations.shift_traffic import ShiftTrafficInput, ShiftTrafficOperation
from stormsail.delivery.operations.terminate_instances import (
    TerminateAndDecrementInput,
    TerminateAndDecrementOperation,
    TerminateInstancesInput,
    TerminateInstancesOperation,
)
from stormsail.delivery.operations.upsert_load_balancer import UpsertLoadBalancerInput, UpsertLoadBalancerOperation
from stormsail.delivery.operations.upsert_security_group import UpsertSecurityGroupInput, UpsertSecurityGroupOperation

OPERATIONS: Final[Mapping[str, Registered[Any]]] = {
    "createServerGroup": Registered(CreateServerGroupInput, CreateServerGroupOperation()),
    "resizeServerGroup": Registered(ResizeServerGroupInput, ResizeServerGroupOperation()),
    "enableServerGroup": Registered(EnableServerGroupInput, EnableServerGroupOperation()),
    "disableServerGroup": Registered(DisableServerGroupInput, DisableServerGroupOperation()),
    "shiftTraffic": Registered(ShiftTrafficInput, ShiftTrafficOperation()),
    "destroyServerGroup": Registered(DestroyServerGroupInput, DestroyServerGroupOperation()),
    "cloneServerGroup": Registered(CloneServerGroupInput, CloneServerGroupOperation()),
    "terminateInstances": Registered(TerminateInstancesInput, TerminateInstancesOperation()),
    "terminateInstanceAndDecrementServerGroup": Registered(
        TerminateAndDecrementInput, TerminateAndDecrementOperation()
    ),
    "registerInstances": Registered(RegisterInstancesInput, RegisterInstancesOperation()),
    "deregisterInstances": Registered(RegisterInstancesInput, DeregisterInstancesOperation()),
    "upsertLoadBalancer": Registered(UpsertLoadBalancerInput, UpsertLoadBalancerOperation()),
    "deleteLoadBalancer": Registered(DeleteLoadBalancerInput, DeleteLoadBalancerOperation()),
    "upsertSecurityGroup": Registered(UpsertSecurityGroupInput, UpsertSecurityGroupOperation()),
    "deleteSecurityGroup": Registered(DeleteSecurityGroupInput, DeleteSecurityGroupOperation()),
    "rollbackServerGroup": Registered(RollbackServerGroupInput, RollbackServerGroupOperation()),
}


def read_request(untyped: Any) -> OperationRequest:
    """Read what the workflow was started with. Raises OperationFailure of kind InvalidRequest."""
    try:
        return OperationRequest.model_validate(untyped)
    except ValidationError as error:
        listed = [
            OperationError(kind="InvalidRequest", message=rule, field=field) for field, rule in _broken_rules(error)
        ]
        raise OperationFailure(
            "InvalidRequest",
            f"this is no operation request: {listed[0].field or 'it'}: {listed[0].message}",
            field=listed[0].field,
            more=listed[1:],
        ) from None


def resolve(
    request: OperationRequest, workflow_id: str, operations: Mapping[str, Registered[Any]] = OPERATIONS
) -> tuple[Registered[Any], OperationInput]:
    """Return the operation and its typed input. Raises OperationFailure of kind UnknownOperation or InvalidPayload."""
    registered = operations.get(request.operation_type)
    if registered is None:
        raise unknown(request.operation_type, operations)
    payload = dict(request.payload)
    if "application" in type_fields(registered):
        payload.setdefault("application", request.application)
    try:
        wanted = registered.parse(payload)
    except ValidationError as error:
        raise invalid(*_broken_rules(error)) from None
    expected = workflow_id_of(request)
    if workflow_id != expected:
        # The workflow id is the lock on the cluster; under another one two operations could change it at once.
        raise OperationFailure("WrongWorkflowId", f"start this operation under the workflow id {expected!r}")
    return registered, wanted


def unknown(operation_type: str, operations: Mapping[str, Registered[Any]]) -> OperationFailure:
    """Return the failure that lists the known operations and names the nearest."""
    nearest = difflib.get_close_matches(operation_type, operations, n=1, cutoff=0.5)
    guess = f" Did you mean {nearest[0]}?" if nearest else ""
    return OperationFailure(
        "UnknownOperation",
        f"there is no operation {operation_type!r}.{guess} Known are {', '.join(sorted(operations))}.",
        field="operationType",
    )


def type_fields(registered: Registered[Any]) -> frozenset[str]:
    """Return the names of the input's fields."""
    return frozenset(registered.input_type.model_fields)


def _broken_rules(error: ValidationError) -> list[tuple[str, str]]:
    """Return (field, rule) for each problem, the field as it is written on the wire, without the payload's values."""
    return [
        (".".join(str(part) for part in problem["loc"]), problem["msg"])
        for problem in error.errors(include_url=False, include_input=False)
    ]
