"""How long a round of the event loop may be busy with what peers sent, and a connection without a socket under it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from ngh2 import Connection as Http
from ngh2 import ResponseReceived, Role, StreamClosed

from engine.api.front.peers import MIB, bare_peer, echo, framed, head, serving
from stormsail.engine.api.front.connection import Connection
from stormsail.engine.api.front.front import Bounds, Front, Route
from stormsail.engine.api.front.line import Line, LineBounds
from stormsail.engine.api.front.rounds import Rounds
from stormsail.engine.api.transport import Call
from stormsail.engine.core.errors import ResourceExhausted

PATIENCE_S = 60.0


@dataclass
class Clock:
    """Moves on by as much whenever somebody looks."""

    step_s: float = 1.0
    now_s: float = 0.0

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


@dataclass(eq=False)
class Busy:
    """Has so many steps to do, and notes each."""

    name: str
    steps: int
    rounds: Rounds
    done: list[str]
    fails_at: int = -1

    def go_on(self) -> bool:
        """See Unfinished."""
        while self.steps:
            self.steps -= 1
            self.done.append(self.name)
            if self.steps == self.fails_at:
                raise AssertionError("a step that fails")
            if self.rounds.over():
                break
        return not self.steps


async def until(condition: Callable[[], bool]) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    while not condition():
        assert loop.time() < deadline, "waited in vain"
        await asyncio.sleep(0)


async def test_a_round_is_over_for_all_and_begins_anew_once_the_loop_has_looked_around() -> None:
    now_s = 0.0
    rounds = Rounds(round_s=0.5, now_s=lambda: now_s)
    assert not rounds.over()
    now_s = 0.4
    assert not rounds.over()
    now_s = 0.5
    assert rounds.over() and rounds.over()
    await asyncio.sleep(0)
    assert not rounds.over()


async def test_those_with_more_to_do_than_there_is_time_for_take_turns() -> None:
    rounds, done = Rounds(round_s=1.0, now_s=Clock()), list[str]()
    for name, steps in (("a", 3), ("b", 1), ("c", 2)):
        rounds.put_off(Busy(name, steps, rounds, done))
    await until(lambda: len(done) == 6)
    assert "".join(done) == "abcaca"


async def test_who_fails_in_one_step_goes_on_with_the_next_and_holds_up_nobody() -> None:
    rounds, done = Rounds(round_s=1.0, now_s=Clock()), list[str]()
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    rounds.put_off(Busy("a", 3, rounds, done, fails_at=2))
    rounds.put_off(Busy("b", 2, rounds, done))
    await until(lambda: len(done) == 5)
    assert sorted(done) == ["a", "a", "a", "b", "b"]
    assert [str(one["exception"]) for one in told] == ["a step that fails"]


class Wire(asyncio.Transport):
    """Keeps what is written, and takes note whether it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.reading = True

    def write(self, data: Any) -> None:
        """See asyncio.Transport."""
        self.written += data

    def is_closing(self) -> bool:
        """See asyncio.Transport."""
        return False

    def pause_reading(self) -> None:
        """See asyncio.Transport."""
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        """See asyncio.Transport."""
        assert not self.reading
        self.reading = True


@dataclass
class Wired:
    """A connection and its peer, without a socket between them. `/s/Work` notes what it is given, and who was turned
    away by then; `/s/New` is new work, and always turned away."""

    clock: Clock = field(default_factory=lambda: Clock(step_s=0.0))
    done: list[tuple[bytes, bool]] = field(default_factory=list)
    refused: set[int] = field(default_factory=set)
    answered: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        async def work(_: Call, message: bytes) -> bytes:
            self.hear()
            self.done.append((message, bool(self.refused)))
            return message

        async def large(_: Call, __: bytes) -> bytes:
            return bytes(MIB)

        line = Line(lambda: ResourceExhausted("busy"), turns=lambda: 0, bounds=LineBounds(waiting_max=0, waiting_min=0))
        routes = {
            b"/s/Work": Route("/s/Work", unary=work),
            b"/s/Large": Route("/s/Large", unary=large),
            b"/s/New": Route("/s/New", unary=work, new_work=True),
        }
        self.wire = Wire()
        self.rounds = Rounds(round_s=1.0, now_s=self.clock)
        self.front = Front(routes, echo, Bounds(4 * MIB), line, self.rounds)
        self.connection = Connection(self.front)
        self.connection.connection_made(self.wire)
        self.peer = Http(Role.CLIENT)
        self.peer.initiate_connection({})
        self.send()

    def call(self, path: str, message: bytes) -> int:
        stream_id = self.peer.send_request(head(path))
        self.peer.send_data(stream_id, framed(message), end_stream=True)
        return stream_id

    def send(self) -> None:
        """Let the connection have all that was called, at once."""
        self.connection.data_received(self.peer.data_to_send())

    def hear(self) -> None:
        """Let the peer have what was written."""
        self.peer.receive_data(bytes(self.wire.written))
        self.wire.written.clear()
        for event in self.peer.events():
            match event:
                case ResponseReceived() if dict(event.headers).get(b"grpc-status") == b"8":
                    self.refused.add(event.stream_id)
                case StreamClosed():
                    self.answered.add(event.stream_id)
                case _:
                    pass


async def a_step_a_round() -> Wired:
    """Return a connection that has greeted its peer, and handles one thing in a round from now on."""
    wired = Wired()
    await asyncio.sleep(0)
    wired.clock.step_s = 1.0
    return wired


async def test_who_is_turned_away_hears_so_before_anything_is_done_for_those_who_came_with_it() -> None:
    wired = Wired()
    for number in range(5):
        wired.call("/s/Work", b"%d" % number)
    refused = wired.call("/s/New", b"n")
    wired.send()
    assert wired.done == [(b"%d" % number, True) for number in range(5)]
    assert wired.refused == {refused}


async def test_calls_that_one_round_has_no_time_for_go_on_in_the_next_ones_and_nothing_is_read_meanwhile() -> None:
    wired = await a_step_a_round()
    for number in range(4):
        wired.call("/s/Work", b"%d" % number)
    wired.send()
    assert len(wired.done) == 1 and not wired.wire.reading
    refused = wired.call("/s/New", b"n")
    wired.call("/s/Work", b"4")
    wired.send()
    wired.hear()
    assert len(wired.done) == 1 and refused in wired.refused
    await until(lambda: wired.wire.reading)
    wired.hear()
    assert [message for message, _ in wired.done] == [b"0", b"1", b"2", b"3", b"4"]
    assert len(wired.answered) == 6


async def test_calls_put_off_whose_peer_goes_away_are_not_begun() -> None:
    wired = await a_step_a_round()
    for number in range(4):
        wired.call("/s/Work", b"%d" % number)
    wired.send()
    wired.connection.connection_lost(None)
    other = Busy("other", 2, wired.rounds, done := list[str]())
    wired.rounds.put_off(other)
    await until(lambda: len(done) == 2)
    assert len(wired.done) == 1


@pytest.mark.parametrize("size", [10, MIB])
async def test_a_server_whose_rounds_are_always_over_still_answers_every_call(size: int) -> None:
    async with serving({"/s/Echo": echo}, rounds=Rounds(round_s=0.0)) as port, bare_peer(port) as peer:
        messages = {peer.call("/s/Echo", number.to_bytes(2, "big") * (size // 2)): number for number in range(12)}
        for stream_id, number in messages.items():
            answer = await peer.answer(stream_id)
            assert answer.status == 0
            assert answer.message == number.to_bytes(2, "big") * (size // 2)


async def test_what_waits_for_a_peer_is_counted_while_nothing_can_be_written_to_it() -> None:
    wired = Wired()
    wired.connection.pause_writing()
    wired.call("/s/Large", b"m")
    wired.send()
    assert wired.front.unsent_size > MIB // 2
    wired.connection.resume_writing()
    assert wired.front.unsent_size < MIB


async def test_of_a_call_that_is_turned_away_the_rest_is_not_kept() -> None:
    wired = await a_step_a_round()
    refused = wired.peer.send_request(head("/s/New"))
    wired.send()
    wired.hear()
    assert wired.refused == {refused}
    for _ in range(5):
        wired.peer.send_data(refused, bytes(10_000))
    wired.send()
    wired.peer.end_stream(refused)
    wired.send()
    wired.hear()
    assert wired.answered == {refused} and wired.wire.reading and wired.front.bodies_size == 0


async def test_a_peer_that_went_away_is_not_counted_among_those_that_do_not_read() -> None:
    wired = await a_step_a_round()
    for _ in range(4):
        wired.call("/s/Large", b"m")
    wired.send()
    assert not wired.wire.reading and wired.front.unsent_size > MIB // 2
    wired.connection.connection_lost(None)
    done = list[str]()
    wired.rounds.put_off(Busy("other", 2, wired.rounds, done))
    await until(lambda: len(done) == 2)
    assert wired.front.unsent_size == 0
