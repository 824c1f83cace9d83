"""Reading histories: pages, waiting for news, the closing event alone. Stored frames are served as they are.

The last page of an open run ends with the events of its transient workflow task: a worker that lost the run from its
cache reads the history it must replay in this way. Unlike the server we follow, a read that waits for news has none of
them: it would be told of them twice, for they may come to pass, or differently, for they may not.
"""

from typing import Final

from temporalio.api.enums.v1 import HistoryEventFilterType
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    GetWorkflowExecutionHistoryReverseRequest,
    GetWorkflowExecutionHistoryReverseResponse,
)

from stormsail.engine.core.decide.workflow_task import unwritten_events
from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.events import frame, varint
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.state import RunState
from stormsail.engine.shell import tokens
from stormsail.engine.shell.clock import Clock
from stormsail.engine.shell.deliver import Deliver, field_bytes
from stormsail.engine.shell.overload import Admission
from stormsail.engine.shell.runs import Runs
from stormsail.engine.shell.tokens import HistoryPageToken
from stormsail.engine.shell.waiters import Waiters

CLOSE_EVENT: Final = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT
ANSWER_BEFORE_MS: Final = 1_000
"""A long poll answers so long before its caller's deadline, which would otherwise turn the answer into an error."""

_HISTORY: Final = varint(GetWorkflowExecutionHistoryResponse.DESCRIPTOR.fields_by_name["history"].number << 3 | 2)
_PAGE_TOKEN: Final = varint(
    GetWorkflowExecutionHistoryResponse.DESCRIPTOR.fields_by_name["next_page_token"].number << 3 | 2
)
assert GetWorkflowExecutionHistoryReverseResponse.DESCRIPTOR.fields_by_name["history"].number << 3 | 2 == _HISTORY[0]


def patience_ms(most_ms: float, deadline_s: float | None) -> float:
    """Return how long a call may wait, given the seconds its caller has left."""
    if deadline_s is None:
        return most_ms
    return max(0.0, min(most_ms, deadline_s * 1000 - ANSWER_BEFORE_MS))


class Histories:
    """Answers GetWorkflowExecutionHistory and its reverse."""

    def __init__(
        self,
        runs: Runs,
        *,
        deliver: Deliver,
        waiters: Waiters,
        admission: Admission,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._runs = runs
        self._deliver = deliver
        self._waiters = waiters
        self._admission = admission
        self._clock = clock
        self._limits = limits

    async def read(
        self, request: GetWorkflowExecutionHistoryRequest, deadline_s: float | None, *, unwritten: bool
    ) -> bytes:
        """Return a serialised GetWorkflowExecutionHistoryResponse. The first page says which run all pages are of.
        `unwritten`: with the events of a transient workflow task."""
        close_only = request.history_event_filter_type == CLOSE_EVENT
        execution = request.execution
        run_id = execution.run_id
        token = _page_token(request.next_page_token, run_id)
        state = self._runs.read(request.namespace, execution.workflow_id, token.run_id if token else run_id)
        if token and token.through:
            return self._task_page(state, token, request.maximum_page_size)
        if close_only and (token is None or (request.wait_new_event and token.running)):
            # Without a token even a caller that did not ask to wait waits: GetWorkflowExecutionHistory does so.
            state = await self._wait(state, None, deadline_s)
        elif token and token.running and request.wait_new_event:
            state = await self._wait(state, token.next_event_id, deadline_s)
        if close_only:
            return self._close_event(state, request)
        first = token.next_event_id if token else 1
        return self._events(state, first, request, unwritten=unwritten)

    async def read_reverse(self, request: GetWorkflowExecutionHistoryReverseRequest) -> bytes:
        """Return a serialised GetWorkflowExecutionHistoryReverseResponse, newest events first."""
        token = _page_token(request.next_page_token, request.execution.run_id)
        run_id = token.run_id if token else request.execution.run_id
        state = self._runs.read(request.namespace, request.execution.workflow_id, run_id)
        first = min(token.next_event_id, state.last_event_id) if token else state.last_event_id
        page = self._runs.page_reverse(
            state.key,
            first,
            max_events=self._page_size(request.maximum_page_size),
            max_bytes=self._limits.grpc_message_size_max // 4,
        )
        if not page.next_event_id:
            return field_bytes(_HISTORY, page.frames)
        return _response(page.frames, HistoryPageToken(state.key.run_id, page.next_event_id, state.open))

    async def _wait(self, state: RunState, known_event_id: int | None, deadline_s: float | None) -> RunState:
        """Wait until the run has an event from `known_event_id` on (None: its closing one), or the time is over."""
        until_ms = self._clock.now_ms() + patience_ms(self._limits.history_long_poll_ms, deadline_s)
        key = state.key
        self._runs.check_serving()
        self._admission.enter_wait()
        try:
            while state.open and (known_event_id is None or known_event_id >= state.next_event_id):
                left_ms = until_ms - self._clock.now_ms()
                if left_ms <= 0 or not await self._waiters.changed(key, left_ms, closing=known_event_id is None):
                    break
                self._runs.check_serving()
                state = self._runs.read(key.namespace, key.workflow_id, key.run_id)
        finally:
            self._admission.leave_wait()
        return state

    def _close_event(self, state: RunState, request: GetWorkflowExecutionHistoryRequest) -> bytes:
        if not state.open:
            page = self._deliver.page(state.key, state.close_event_id, state.close_event_id)
            return field_bytes(_HISTORY, page.frames)
        if request.wait_new_event:
            return _response(b"", HistoryPageToken(state.key.run_id, state.next_event_id, True))
        return field_bytes(_HISTORY, b"")

    def _events(
        self, state: RunState, first: int, request: GetWorkflowExecutionHistoryRequest, *, unwritten: bool
    ) -> bytes:
        run_id = state.key.run_id
        if first > state.last_event_id:
            if not state.open:
                return field_bytes(_HISTORY, b"")
            return _response(b"", HistoryPageToken(run_id, first, True))
        page = self._deliver.page(state.key, first, state.last_event_id, self._page_size(request.maximum_page_size))
        if page.next_event_id:
            return _response(page.frames, HistoryPageToken(run_id, page.next_event_id, state.open))
        if state.open and request.wait_new_event:
            return _response(page.frames, HistoryPageToken(run_id, state.next_event_id, True))
        following = unwritten_events(state) if unwritten else ()
        return field_bytes(_HISTORY, page.frames + b"".join(map(frame, following)))

    def _task_page(self, state: RunState, token: HistoryPageToken, page_size: int) -> bytes:
        """Return a further page of a workflow task's history: no more than the task may see."""
        through = min(token.through, state.last_event_id)
        page = self._deliver.page(state.key, token.next_event_id, through, self._page_size(page_size))
        if not page.next_event_id:
            return field_bytes(_HISTORY, page.frames + token.transient)
        return _response(
            page.frames,
            HistoryPageToken(token.run_id, page.next_event_id, token.running, token.through, token.transient),
        )

    def _page_size(self, asked: int) -> int:
        most = self._limits.history_page_events_max
        return min(asked, most) if asked > 0 else most


def _page_token(encoded: bytes, run_id: str) -> HistoryPageToken | None:
    if not encoded:
        return None
    token = tokens.decode_history_page(encoded)
    if run_id and run_id != token.run_id:
        raise InvalidArgument("RunId in the request does not match the NextPageToken.")
    return token


def _response(frames: bytes, token: HistoryPageToken) -> bytes:
    return field_bytes(_HISTORY, frames) + field_bytes(_PAGE_TOKEN, tokens.encode_history_page(token))
