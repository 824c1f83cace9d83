"""From an untyped request to a typed operation, or to an error that names what is wrong."""

from typing import Any

import pytest

from stormsail.delivery.model.operation import OperationRequest, cluster_of, workflow_id_of
from stormsail.delivery.operations.cloud import OperationFailure
from stormsail.delivery.operations.create_server_group import CreateServerGroupInput
from stormsail.delivery.operations.registry import OPERATIONS, resolve

LAUNCH = {"command": ["serve"]}
CAPACITY = {"min": 1, "desired": 1, "max": 1}


def request(operation_type: str, **payload: Any) -> OperationRequest:
    return OperationRequest(operation_type=operation_type, payload=payload, application="web", account="a")


def refusal(asked: OperationRequest, workflow_id: str = "") -> OperationFailure:
    with pytest.raises(OperationFailure) as caught:
        resolve(asked, workflow_id or workflow_id_of(asked))
    return caught.value


def test_an_unknown_operation_is_named_with_the_known_ones_and_the_nearest() -> None:
    failure = refusal(request("creatServerGroup"))
    assert failure.kind == "UnknownOperation"
    assert "Did you mean createServerGroup?" in str(failure)
    assert all(name in str(failure) for name in OPERATIONS)


def test_nothing_is_guessed_when_nothing_is_near() -> None:
    assert "Did you mean" not in str(refusal(request("frobnicate")))


@pytest.mark.parametrize(
    ("operation_type", "payload", "fields"),
    [
        ("createServerGroup", {"capacity": CAPACITY}, {"launch"}),
        (
            "createServerGroup",
            {"launch": LAUNCH, "capacity": {"min": 1, "desired": "many", "max": 1}},
            {"capacity.desired"},
        ),
        ("createServerGroup", {"launch": LAUNCH, "capacity": {"min": 3, "desired": 1, "max": 1}}, {"capacity"}),
        (
            "createServerGroup",
            {"launch": {"command": "serve"}, "delayBeforeCleanup": -1},
            {"launch.command", "delayBeforeCleanup"},
        ),
        ("resizeServerGroup", {"capacity": CAPACITY}, {"serverGroupName"}),
        ("resizeServerGroup", {"serverGroupName": "web-v000"}, {"capacity"}),
        ("enableServerGroup", {"serverGroupName": "web-v000", "desiredPercentage": 0}, {"desiredPercentage"}),
        ("disableServerGroup", {"serverGroupName": 7}, {"serverGroupName"}),
        ("destroyServerGroup", {}, {"serverGroupName"}),
        ("rollbackServerGroup", {"delayBeforeDisable": "soon"}, {"delayBeforeDisable"}),
    ],
)
def test_every_missing_or_mistyped_field_is_named(
    operation_type: str, payload: dict[str, Any], fields: set[str]
) -> None:
    failure = refusal(request(operation_type, **payload))
    assert {error.kind for error in failure.errors} == {"InvalidPayload"}
    assert {error.field for error in failure.errors} == fields
    assert all(error.message for error in failure.errors)


def test_both_spellings_are_read_and_unknown_fields_are_kept() -> None:
    for spelling in ({"targetHealthyDeployPercentage": 50}, {"target_healthy_deploy_percentage": 50}):
        asked = request("createServerGroup", launch=LAUNCH, freeFormDetails="blue", somethingElse=1, **spelling)
        _, wanted = resolve(asked, workflow_id_of(asked))
        assert isinstance(wanted, CreateServerGroupInput)
        assert wanted.target_healthy_deploy_percentage == 50
        assert wanted.moniker.cluster == "web--blue"
        assert wanted.model_extra == {"somethingElse": 1}


def test_an_operation_under_another_workflow_id_is_refused_because_that_id_is_the_lock() -> None:
    failure = refusal(request("destroyServerGroup", serverGroupName="web-v000"), "operation/a/other")
    assert failure.kind == "WrongWorkflowId"
    assert "operation/a/web" in str(failure)


@pytest.mark.parametrize(
    ("payload", "cluster"),
    [
        ({"serverGroupName": "web-main-v003"}, "web-main"),
        ({"server_group_name": "web-main-v003"}, "web-main"),
        ({"stack": "main", "freeFormDetails": "x"}, "web-main-x"),
        ({"application": "web", "detail": "x"}, "web--x"),
        ({"application": ["web"]}, "web"),
        ({"serverGroupName": "no good"}, "web"),
        ({}, "web"),
    ],
)
def test_a_request_is_addressed_to_its_cluster_even_when_the_payload_is_wrong(
    payload: dict[str, Any], cluster: str
) -> None:
    assert cluster_of(request("createServerGroup", **payload)) == cluster
