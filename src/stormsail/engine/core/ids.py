"""Names of runs, and where new ids come from."""

from typing import NamedTuple, Protocol


class RunKey(NamedTuple):
    """One run. `workflow_id` names the chain of runs; `run_id` one link of it.

    A tuple, because every room looks runs up by it, and tuples are hashed and compared without a call.
    """

    namespace: str
    workflow_id: str
    run_id: str

    @property
    def workflow(self) -> tuple[str, str]:
        """The chain: what turns are put in order by."""
        return (self.namespace, self.workflow_id)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.workflow_id}/{self.run_id}"


class Ids(Protocol):
    """Where a decision takes new ids and jitter from; the simulator passes a seeded one."""

    def uuid(self) -> str:
        """Return a new random id, 36 characters."""
        ...

    def fraction(self) -> float:
        """Return a number in [0, 1)."""
        ...
