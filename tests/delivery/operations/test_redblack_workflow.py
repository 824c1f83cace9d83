"""createServerGroup with redblack, as a workflow on real engines against the model cloud."""

from delivery.stage import Stage
from stormsail.delivery.model.operation import StepStatus


async def test_redblack_gives_traffic_to_the_new_group_before_it_takes_it_from_the_old(stage: Stage) -> None:
    first = await stage.deploy("v1")
    assert first.ok, first.errors
    second = await stage.deploy("v2")

    assert second.ok, second.errors
    assert second.output == {
        "serverGroup": "web-v001",
        "cluster": "web",
        "capacity": {"min": 2, "desired": 2, "max": 2},
        "source": "web-v000",
        "destroyed": [],
        "disabled": ["web-v000"],
        "scaledDown": [],
    }
    assert stage.effects() == [
        "create web-v000 2/2/2",
        "enable web-v000 100%",
        "create web-v001 2/2/2",
        "enable web-v001 100%",
        "disable web-v000 100%",
    ]
    assert [(step.name, step.target, step.status) for step in second.steps] == [
        ("determineSourceServerGroup", "web", StepStatus.SUCCEEDED),
        ("createServerGroup", "web-v001", StepStatus.SUCCEEDED),
        ("waitForUpInstances", "web-v001", StepStatus.SUCCEEDED),
        ("enableServerGroup", "web-v001", StepStatus.SUCCEEDED),
        ("waitForUpInstances", "web-v001", StepStatus.SUCCEEDED),
        ("disableCluster", "web", StepStatus.SUCCEEDED),
        ("disableServerGroup", "web-v000", StepStatus.SUCCEEDED),
        ("waitForDownInstances", "web-v000", StepStatus.SUCCEEDED),
    ]
