"""The operations of the campaign: what is there before, what is asked for, and what must be there afterwards.

What must be there is written down here and compared with the model cloud itself. Neither arm is asked.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from stormsail.delivery.model.server_group import Capacity, Health, LaunchSpec
from stormsail.delivery.providers.model.cloud import ModelCloud
from stormsail.delivery.providers.provider import Change, CreateServerGroup, DisableServerGroup, EnableServerGroup

ACCOUNT: Final = "model"
CANCEL_FIRST_S: Final = 1.0
CANCEL_SPREAD_S: Final = 12
"""Operations that are cancelled are so at one of so many seconds: while the group is made, starts, or serves."""

OLD, NEW = "old", "new"
"""The versions of what was there, and of what an operation deploys."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One server group, as far as a verdict looks at it: its size, whether it takes traffic, and its version."""

    size: int
    enabled: bool
    version: str = OLD
    served: bool = False
    """Before the operation: whether it once took traffic."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of operation. Server groups are named by their sequence number."""

    name: str
    weight: int
    """How often it is drawn."""
    operation_type: str
    payload: Mapping[str, Any]
    before: Mapping[int, Standing]
    after: Mapping[int, Standing]
    about: int | None = None
    """The server group that the payload names, if any."""
    creates: int = 0
    """How many server groups it makes."""
    cancelled: bool = False
    """Whether it is cancelled on its way, so that `after` is how it all was before."""


@dataclass(slots=True)
class Operation:
    """One operation of a world."""

    number: int
    kind: Kind
    application: str
    starts_at_s: float
    felt: set[str] = field(default_factory=set)
    """The classes of fault that it met."""
    ended_at_s: float | None = None
    said_ok: bool = False
    said: str = ""
    """Why its orchestrator gave it up."""
    seen_at_end: str = ""
    """What was not as intended when it was over."""

    @property
    def cancel_after_s(self) -> float | None:
        """When it is cancelled, counted from its start."""
        return CANCEL_FIRST_S + self.number % CANCEL_SPREAD_S if self.kind.cancelled else None

    @property
    def payload(self) -> dict[str, Any]:
        """What is asked for."""
        named = {} if self.kind.about is None else {"serverGroupName": group_name(self.application, self.kind.about)}
        return {**self.kind.payload, **named}


def group_name(application: str, sequence: int) -> str:
    """Return a server group's whole name."""
    return f"{application}-v{sequence:03d}"


def _capacity(size: int) -> dict[str, int]:
    return {"min": size, "desired": size, "max": size}


_LAUNCH: Final = {"version": NEW, "command": ["serve"]}

KINDS: Final = (
    Kind(
        "deploy by red/black",
        35,
        "createServerGroup",
        {"strategy": "redblack", "capacity": _capacity(3), "launch": _LAUNCH},
        {0: Standing(3, True)},
        {0: Standing(3, False), 1: Standing(3, True, NEW)},
        creates=1,
    ),
    Kind(
        "deploy the first version",
        10,
        "createServerGroup",
        {"strategy": "none", "capacity": _capacity(2), "launch": _LAUNCH},
        {},
        {0: Standing(2, True, NEW)},
        creates=1,
    ),
    Kind(
        "deploy by rolling red/black",
        3,
        "createServerGroup",
        {"strategy": "rollingredblack", "targetPercentages": [50], "capacity": _capacity(2), "launch": _LAUNCH},
        {0: Standing(2, True)},
        {0: Standing(2, False), 1: Standing(2, True, NEW)},
        creates=1,
    ),
    Kind(
        "deploy by canary",
        2,
        "createServerGroup",
        {
            "strategy": "canary",
            "canary": {"steps": [{"setWeight": 25}, {"pause": {"duration": 5}}, {"setWeight": 50}]},
            "capacity": _capacity(2),
            "launch": _LAUNCH,
        },
        {0: Standing(2, True)},
        {0: Standing(2, False), 1: Standing(2, True, NEW)},
        creates=1,
    ),
    Kind(
        "deploy, cancelled",
        2,
        "createServerGroup",
        {"strategy": "redblack", "capacity": _capacity(3), "launch": _LAUNCH, "delayBeforeCleanup": 60},
        {0: Standing(3, True)},
        {0: Standing(3, True)},
        creates=1,
        cancelled=True,
    ),
    Kind(
        "resize",
        14,
        "resizeServerGroup",
        {"capacity": _capacity(4)},
        {0: Standing(2, True)},
        {0: Standing(4, True)},
        about=0,
    ),
    Kind(
        "enable",
        9,
        "enableServerGroup",
        {},
        {0: Standing(2, True), 1: Standing(2, False)},
        {0: Standing(2, True), 1: Standing(2, True)},
        about=1,
    ),
    Kind(
        "disable",
        10,
        "disableServerGroup",
        {},
        {0: Standing(2, True), 1: Standing(2, True)},
        {0: Standing(2, False), 1: Standing(2, True)},
        about=0,
    ),
    Kind(
        "destroy",
        5,
        "destroyServerGroup",
        {},
        {0: Standing(2, False), 1: Standing(2, True)},
        {1: Standing(2, True)},
        about=0,
    ),
    Kind(
        "roll back",
        10,
        "rollbackServerGroup",
        {},
        {0: Standing(2, False, served=True), 1: Standing(2, True)},
        {0: Standing(2, True), 1: Standing(2, False)},
    ),
)


def draw_kind(chance: random.Random) -> Kind:
    """Draw a kind by its weight."""
    return chance.choices(KINDS, [kind.weight for kind in KINDS])[0]


def prepare(cloud: ModelCloud, operation: Operation) -> None:
    """Put what is there before an operation into the cloud."""
    changes: list[Change] = []
    for sequence, standing in operation.kind.before.items():
        name = group_name(operation.application, sequence)
        capacity = Capacity.fixed(standing.size)
        launch = LaunchSpec(version=standing.version, command=("serve",))
        changes.append(CreateServerGroup(name=name, capacity=capacity, launch=launch, enabled=standing.enabled))
        if standing.served:
            changes += [EnableServerGroup(name=name), DisableServerGroup(name=name)]
    for number, change in enumerate(changes):
        token = f"before-{operation.application}-{number}"
        cloud.begin(token, change)
        assert cloud.resume(token, change).done


def amiss(cloud: ModelCloud, operation: Operation) -> str:
    """Say what of an application is not as intended, or nothing. Reads the cloud."""
    there = {
        group.name: Standing(len(group.instances), group.enabled, group.launch.version)
        for group in cloud.server_groups(ACCOUNT, operation.application)
    }
    intended = {group_name(operation.application, number): one for number, one in operation.kind.after.items()}
    for name in sorted(set(there) | set(intended)):
        if there.get(name) != intended.get(name):
            return f"{name} is {_told(there.get(name))}, not {_told(intended.get(name))}"
    for group in cloud.server_groups(ACCOUNT, operation.application):
        if group.enabled and (group.weight_percent != 100 or group.count(Health.UP) != len(group.instances)):
            return f"{group.name}: {group.count(Health.UP)} of {len(group.instances)} instances serve"
    return ""


def _told(standing: Standing | None) -> str:
    if standing is None:
        return "gone"
    return f"{standing.version}, {standing.size} instances, {'enabled' if standing.enabled else 'disabled'}"
