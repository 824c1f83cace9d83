"""What a schedule is right now. A turn changes its own copy; the store writes the copy down."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import ScheduleOverlapPolicy
from temporalio.api.failure.v1 import Failure
from temporalio.api.schedule.v1 import ScheduleAction, SchedulePolicies, ScheduleSpec

INITIAL_CONFLICT_TOKEN: Final = 1


@dataclass(frozen=True, slots=True)
class ScheduleKey:
    """Names a schedule."""

    namespace: str
    schedule_id: str

    def __str__(self) -> str:
        return f"{self.namespace}/schedules/{self.schedule_id}"


@dataclass(frozen=True, slots=True)
class Buffered:
    """An action that is due and has not begun."""

    number: int
    """Drawn once in the life of the schedule: the request id of the start is made of it."""
    nominal_ms: int
    """The time that matched the spec, or that was asked for: it names the workflow."""
    at_ms: int
    """The same with its jitter."""
    overlap: ScheduleOverlapPolicy.ValueType
    """As asked for; unspecified means the schedule's own at the time when the action begins."""
    manual: bool
    """Triggered or backfilled: pauses, limits and the catchup window do not apply."""


@dataclass(frozen=True, slots=True)
class Starting:
    """An action that is decided. It is on disk before the start is tried, and until the start's outcome is."""

    action: Buffered
    workflow_id: str
    tracked: bool
    """Its run counts as running: later actions may overlap with it. Those of ALLOW_ALL do not."""
    give_up_at_ms: int
    """When no further try is made."""


class Ending(StrEnum):
    """What the overlap policy wants of a running workflow."""

    NONE = ""
    CANCEL = "cancel"
    TERMINATE = "terminate"


@dataclass(frozen=True, slots=True)
class Running:
    """A workflow that the schedule started and that has not ended."""

    workflow_id: str
    run_id: str
    """Its first run: others may follow in its chain."""
    ending: Ending = Ending.NONE
    asked: bool = False
    """Whether the ending has been asked for."""


@dataclass(frozen=True, slots=True)
class Recent:
    """An action of late."""

    schedule_ms: int
    actual_ms: int
    workflow_id: str
    run_id: str
    status: int
    """Of the workflow, as far as the schedule follows it."""


@dataclass(frozen=True, slots=True)
class Backfill:
    """The rest of a backfill: actions after one time, up to another."""

    after_ms: int
    until_ms: int
    overlap: ScheduleOverlapPolicy.ValueType


@dataclass(slots=True)
class Schedule:
    """One schedule. Messages and tuples in it are replaced, never changed in place."""

    key: ScheduleKey
    namespace_id: str
    incarnation: str
    """Drawn when it was created: no start of a schedule is taken for that of another of the same id, deleted before."""
    create_request_id: str
    created_ms: int
    spec: ScheduleSpec = field(default_factory=ScheduleSpec)
    """In canonical form."""
    action: ScheduleAction = field(default_factory=ScheduleAction)
    policies: SchedulePolicies = field(default_factory=SchedulePolicies)
    """With the defaults filled in."""
    memo: bytes = b""
    """A serialised Memo."""
    search_attributes: bytes = b""
    """A serialised SearchAttributes."""
    paused: bool = False
    notes: str = ""
    limited_actions: bool = False
    remaining_actions: int = 0
    conflict_token: int = INITIAL_CONFLICT_TOKEN
    updated_ms: int = 0
    processed_ms: int = 0
    """Every action up to here has been buffered or passed over."""
    more: bool = False
    """The time since has more actions than one turn takes."""
    drawn: int = 0
    """Numbers of actions given out."""
    actions: int = 0
    missed_catchup_window: int = 0
    overlap_skipped: int = 0
    buffer_dropped: int = 0
    buffered: tuple[Buffered, ...] = ()
    starting: tuple[Starting, ...] = ()
    running: tuple[Running, ...] = ()
    recent: tuple[Recent, ...] = ()
    backfills: tuple[Backfill, ...] = ()
    last_result: Payloads | None = None
    last_failure: Failure | None = None
    request_ids: tuple[str, ...] = ()
    """Of the last updates and patches: a repetition has no effect."""

    def copy(self) -> "Schedule":
        """Return a schedule that can be changed without changing this one."""
        return replace(self)

    @property
    def busy(self) -> bool:
        """Whether it waits for something outside: a start's outcome, or the end of a workflow."""
        return bool(self.starting or self.running)

    @property
    def jitter_seed(self) -> str:
        """What the jitter is drawn from: the same as Temporal's."""
        return f"{self.namespace_id}-{self.key.schedule_id}"

    @property
    def identity(self) -> str:
        """Who starts, cancels and terminates the workflows."""
        return f"temporal-scheduler-{self.key.namespace}-{self.key.schedule_id}"

    def request_id(self, number: int) -> str:
        """Return the request id of an action's start: the same at every try, also after a restart."""
        return f"{self.incarnation}-{number}"

    @property
    def last_event_ms(self) -> int:
        """When it was created, updated, or last acted."""
        acted_ms = self.recent[-1].actual_ms if self.recent else 0
        return max(acted_ms, self.created_ms, self.updated_ms)

    def may_act(self, *, manual: bool = False) -> bool:
        """Whether an action may begin: neither paused nor out of actions. Manual ones always may."""
        return manual or (not self.paused and (not self.limited_actions or self.remaining_actions > 0))
