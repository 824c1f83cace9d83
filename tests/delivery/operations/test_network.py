"""Load balancers and security groups as operations: what they refuse, and that a failure puts back what was there."""

import asyncio
from typing import Any

import pytest

from delivery.direct_cloud import Clock, NthFault, run_directly
from stormsail.delivery.model.operation import OperationRequest, OperationResult, workflow_id_of
from stormsail.delivery.providers.model.cloud import ModelCloud
from stormsail.delivery.providers.model.faults import Fault, Faults, ScriptedFaults
from stormsail.delivery.providers.model.provider import NO_FAULTS

FRONT: dict[str, Any] = {
    "name": "web-front",
    "listeners": [{"port": 80, "routes": [{"pool": "web-blue"}]}],
    "targetGroups": [{"name": "web-blue", "port": 8080, "health": {"path": "/ready"}}],
}
DOOR: dict[str, Any] = {
    "name": "web-door",
    "description": "who may come in",
    "ipIngress": [{"cidr": "10.0.0.0/8", "startPort": 80, "endPort": 80, "ipProtocol": "tcp"}],
    "securityGroupIngress": [{"name": "web-front", "startPort": 22, "endPort": 22}],
}


def run(
    cloud: ModelCloud,
    operation: str,
    identity: str,
    *,
    faults: Faults = NO_FAULTS,
    cancel_at_call: int = 0,
    **more: Any,
) -> OperationResult | None:
    doing = run_directly(cloud, Clock(), identity, operation, faults=faults, cancel_at_call=cancel_at_call, **more)
    return asyncio.run(doing)


@pytest.fixture
def cloud() -> ModelCloud:
    return ModelCloud(Clock())


def test_they_are_made_changed_and_removed(cloud: ModelCloud) -> None:
    for number, (operation, payload) in enumerate(
        (
            ("upsertLoadBalancer", FRONT),
            ("upsertSecurityGroup", DOOR),
            ("upsertSecurityGroup", {**DOOR, "ipIngress": [], "ingressAppendOnly": True}),
        )
    ):
        result = run(cloud, operation, f"op-{number}", **payload)
        assert result is not None
        assert result.ok, result.errors
    network = cloud.network("web")
    assert [pool.health.path for pool in network.load_balancers[0].pools] == ["/ready"]
    assert len(network.security_groups[0].ingress) == 2
    for operation, name in (("deleteLoadBalancer", "web-front"), ("deleteSecurityGroup", "web-door")):
        result = run(cloud, operation, operation, name=name)
        assert result is not None
        assert result.ok, result.errors
    assert cloud.network("web").load_balancers == cloud.network("web").security_groups == ()


@pytest.mark.parametrize(
    ("operation", "payload", "change"),
    [
        ("upsertLoadBalancer", FRONT, {"listeners": []}),
        ("upsertSecurityGroup", DOOR, {"ipIngress": []}),
    ],
)
def test_a_change_that_fails_or_is_cancelled_puts_back_what_was_there(
    cloud: ModelCloud, operation: str, payload: dict[str, Any], change: dict[str, Any]
) -> None:
    failed = run(
        cloud, operation, "first", faults=ScriptedFaults({f"resume {operation}": [Fault.PERMANENT]}), **payload
    )
    assert failed is not None
    assert (failed.ok, failed.rolled_back) == (False, True)
    assert cloud.network("web").load_balancers == cloud.network("web").security_groups == ()
    assert run(cloud, operation, "second", **payload)
    before = cloud.network("web")
    failed = run(cloud, operation, "third", faults=NthFault("resume", operation, 1), **{**payload, **change})
    assert failed is not None
    assert failed.rolled_back
    assert cloud.network("web") == before
    assert run(cloud, operation, "fourth", cancel_at_call=2, **{**payload, **change}) is None
    assert cloud.network("web") == before


def test_a_load_balancer_that_serves_is_kept_unless_the_outage_is_asked_for(cloud: ModelCloud) -> None:
    capacity = {"min": 1, "desired": 1, "max": 1}
    run(cloud, "upsertLoadBalancer", "a", **FRONT)
    run(cloud, "createServerGroup", "b", capacity=capacity, launch={"command": ["serve"]})
    refused = run(cloud, "deleteLoadBalancer", "c", name="web-front")
    assert refused is not None
    assert [error.kind for error in refused.errors] == ["TrafficGuard"]
    assert "web-v000 take traffic through web-front" in refused.errors[0].message
    done = run(cloud, "deleteLoadBalancer", "d", name="web-front", allowOutage=True)
    assert done is not None
    assert done.ok


@pytest.mark.parametrize(
    ("operation", "payload", "field", "says"),
    [
        ("upsertLoadBalancer", {**FRONT, "name": "shop-front"}, "name", "belongs to application 'shop'"),
        ("upsertLoadBalancer", {**FRONT, "pools": [], "targetGroups": []}, "listeners.0.routes", "no pool 'web-blue'"),
        (
            "upsertLoadBalancer",
            {**FRONT, "listeners": [{"port": 80}, {"port": 80}]},
            "listeners",
            "port 80 is there twice",
        ),
        (
            "upsertLoadBalancer",
            {**FRONT, "listeners": [{"port": 443, "protocol": "HTTPS"}]},
            "listeners.0.certificates",
            "",
        ),
        ("upsertLoadBalancer", {**FRONT, "listeners": [{"port": 0}]}, "listeners.0.port", "greater"),
        ("upsertSecurityGroup", {**DOOR, "ipIngress": [{"startPort": 1, "endPort": 1}]}, "ipIngress.0", "cidr or"),
        (
            "upsertSecurityGroup",
            {**DOOR, "ipIngress": [{"startPort": 9, "endPort": 1, "cidr": "10.0.0.0/8"}]},
            "ipIngress.0",
            "below startPort",
        ),
        ("deleteSecurityGroup", {}, "name", "required"),
    ],
)
def test_a_payload_that_cannot_be_kept_is_refused_by_field(
    cloud: ModelCloud, operation: str, payload: dict[str, Any], field: str, says: str
) -> None:
    result = run(cloud, operation, "x", **payload)
    assert result is not None
    assert [(error.kind, error.field) for error in result.errors] == [("InvalidPayload", field)]
    assert says in result.errors[0].message
    assert cloud.effects == []


def test_each_is_locked_by_its_name_apart_from_the_cluster() -> None:
    def locked(operation: str, **payload: str) -> str:
        return workflow_id_of(OperationRequest(operation_type=operation, application="web", payload=payload))

    assert locked("upsertLoadBalancer", name="web-front") == "operation/local/web-front/load-balancer"
    assert locked("deleteSecurityGroup", name="web-front") == "operation/local/web-front/security-group"
    assert locked("createServerGroup", application="web") == "operation/local/web"
