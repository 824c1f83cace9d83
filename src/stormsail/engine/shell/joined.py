"""Turns of one run that many ask for at once: decided one on the other, and written in one commit."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from stormsail.engine.core.errors import Refused, Unavailable
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.requests import RunRequest
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn, merged
from stormsail.engine.shell.overload import Admission
from stormsail.engine.shell.turn_order import TurnOrder, Workflow

_JOINED_MAX: Final = 100
_GIVEN_UP: Final = "The request was not carried out: one before it failed. Retry it."


class RunQuarantined(Refused):
    """A request met a state that no correct server makes. The run is left as it is on disk, for somebody to look at."""

    status = "INTERNAL"

    def __init__(self, key: RunKey, rule: str) -> None:
        super().__init__(
            f"The workflow run {key} is quarantined: {rule}. Nothing of it was lost or changed, and other runs go on. "
            "Look for its run id in the server's log, report the error, and restart the server to try the run again."
        )


@dataclass(slots=True, eq=False)
class _Joiner:
    run_id: str
    request: RunRequest
    done: "asyncio.Future[Turn]"

    def end(self, outcome: Turn | Refused) -> None:
        """Tell its caller, unless it went away."""
        if self.done.done():
            return
        if isinstance(outcome, Refused):
            self.done.set_exception(outcome)
        else:
            self.done.set_result(outcome)


class Joined:
    """Who waits for a turn that they share. Their workflow's place in the order of turns is one for all of them."""

    def __init__(
        self,
        order: TurnOrder,
        *,
        admission: Admission,
        read: Callable[[Workflow, str], RunState],
        next_: Callable[[RunState, RunRequest], Turn],
        write: Callable[[Workflow, Turn, RunRequest], Awaitable[None]],
    ) -> None:
        """`read` returns a run's committed state, `next_` decides, `write` commits; each may raise Refused."""
        self._order = order
        self._admission = admission
        self._read = read
        self._next = next_
        self._write = write
        self._waiting: dict[Workflow, deque[_Joiner]] = {}
        self.running: set[asyncio.Task[None]] = set()

    def __contains__(self, workflow: Workflow) -> bool:
        return workflow in self._waiting

    async def execute(self, workflow: Workflow, run_id: str, request: RunRequest) -> Any:
        """Return the request's reply once it is on disk. A caller that goes away before its turn is left out."""
        self._admission.enter_turn(new_work=False)
        try:
            loop = asyncio.get_running_loop()
            joiner = _Joiner(run_id, request, loop.create_future())
            waiting = self._waiting.get(workflow)
            if waiting is not None:
                waiting.append(joiner)
            else:
                self._waiting[workflow] = deque([joiner])
                taking = loop.create_task(self._take_turns(workflow))
                self.running.add(taking)
                taking.add_done_callback(self.running.discard)
            turn = await joiner.done
        finally:
            self._admission.leave_turn()
        if turn.refusal is not None:
            raise turn.refusal
        return turn.reply

    async def _take_turns(self, workflow: Workflow) -> None:
        """Take turns until nobody waits. A task of its own, which no caller can cancel."""
        waiting = self._waiting[workflow]
        try:
            while waiting:
                await self._order.acquire(workflow)
                try:
                    await self._take_one(workflow, waiting)
                finally:
                    self._order.release(workflow)
        finally:
            del self._waiting[workflow]
            for joiner in waiting:
                joiner.end(Unavailable(_GIVEN_UP))

    async def _take_one(self, workflow: Workflow, waiting: deque[_Joiner]) -> None:
        """Write what waits, or nothing of it. Nobody hears anything, not even a refusal, before it is on disk: what
        refuses it may be what was decided just before."""
        told: list[tuple[_Joiner, Turn | Refused]] = []
        try:
            chain = self._decide(workflow, waiting, told)
            if chain:
                await self._write(workflow, merged(chain), told[0][0].request)
        except Refused as refused:
            told = [(joiner, refused) for joiner, _ in told]
        except BaseException:
            told = [(joiner, Unavailable(_GIVEN_UP)) for joiner, _ in told]
            raise
        finally:
            for joiner, outcome in told:
                joiner.end(outcome)

    def _decide(
        self, workflow: Workflow, waiting: deque[_Joiner], told: list[tuple[_Joiner, Turn | Refused]]
    ) -> list[Turn]:
        """Decide each on the state that the one before leaves; return the turns to write. Raises RunQuarantined, and
        then all of them are as doubtful as the one that showed it."""
        chain: list[Turn] = []
        while waiting and len(told) < _JOINED_MAX:
            joiner = waiting.popleft()
            if joiner.done.done():
                continue
            try:
                state = self._read(workflow, joiner.run_id)
                if chain and state.key != chain[-1].state.key:
                    waiting.appendleft(joiner)  # of another run of the chain: the next commit's
                    break
                turn = self._next(chain[-1].state if chain else state, joiner.request)
            except RunQuarantined as quarantined:
                told.append((joiner, quarantined))
                raise
            except Refused as refused:
                told.append((joiner, refused))
                continue
            except BaseException:
                waiting.appendleft(joiner)  # whoever tells those that are left tells it
                raise
            told.append((joiner, turn))
            if not turn.empty:
                chain.append(turn)
            if turn.also or turn.refusal is not None:
                break  # the run ended, or another began: what follows is decided on what is then committed
        return chain
