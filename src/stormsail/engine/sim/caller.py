"""Whoever calls the engine from outside: the name it has, the runs it knows, and its patience with calls."""

import asyncio
import random
from collections.abc import Sequence
from typing import Final, TypeVar

from google.protobuf.message import Message
from temporalio.api.common.v1 import WorkflowExecution

from stormsail.engine.core.errors import Refused
from stormsail.engine.core.ids import RunKey
from stormsail.engine.sim.ledger import Ledger
from stormsail.engine.sim.network import Network, Unknown
from stormsail.engine.sim.node import SeededIds

TRIES: Final = 8
_AGAIN: Final = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"})
T = TypeVar("T", bound=Message)


class Caller:
    """See the module."""

    def __init__(
        self, name: str, namespace: str, workflow_ids: Sequence[str], network: Network, ledger: Ledger, seed: str
    ) -> None:
        self.name = name
        self.namespace = namespace
        self.workflow_ids = workflow_ids
        self.network = network
        self.ledger = ledger
        self.chance = random.Random(f"{seed}/{name}")
        self.ids = SeededIds(self.chance)
        self.runs: list[RunKey] = []
        """Those it has heard of."""

    async def certain(self, method: str, request: Message, reply: type[T], deadline_s: float = 5.0) -> T | None:
        """Call until there is a reply, or patience ends: then None. Raises Refused where the call is turned down."""
        for _ in range(TRIES):
            try:
                return await self.network.call(self.name, method, request, reply, deadline_s)
            except Unknown:
                pass
            except Refused as refused:
                if refused.status not in _AGAIN:
                    raise
            await asyncio.sleep(0.05 + self.chance.random())
        return None

    async def done(self, method: str, request: Message, reply: type[Message]) -> bool:
        """Call until there is a reply; say whether it was granted."""
        try:
            return await self.certain(method, request, reply) is not None
        except Refused:
            return False

    def target(self) -> WorkflowExecution:
        """Name a run that is known, or whatever is current."""
        if self.runs and self.chance.random() < 0.5:
            key = self.runs[-1 - int(self.chance.random() * min(3, len(self.runs)))]
            return WorkflowExecution(workflow_id=key.workflow_id, run_id=key.run_id)
        return WorkflowExecution(workflow_id=self.chance.choice(self.workflow_ids))

    def know(self, workflow_id: str, run_id: str) -> None:
        """Hear of a run."""
        if run_id:
            self.runs.append(RunKey(self.namespace, workflow_id, run_id))
