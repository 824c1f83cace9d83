"""The caller is killed with SIGKILL right before and right after every call to AWS; another one carries on."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from delivery.providers import aws_story
from delivery.providers.aws_account import launch, opened, settings
from delivery.providers.aws_cloud import StrictCloud
from delivery.providers.aws_story import CHANGES, carry, life
from stormsail.delivery.providers.provider import Change

pytestmark = [pytest.mark.long, pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1800)]

STARTS_WITHIN_S = 20.0


class Callers:
    """Callers to be killed, forked one at a time from a process that has everything loaded."""

    def __init__(self, account: dict[str, str]) -> None:
        self._account = account
        self._pid = 0
        self._started = threading.Event()
        command = [sys.executable, aws_story.__file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def carry(self, story: list[Change]) -> int:
        """Have a caller carry a story until it ends or is killed; return how many changes it saw done."""
        assert self._process.stdin and self._process.stdout
        self._started.clear()
        plain = CHANGES.dump_python(story, mode="json")
        self._process.stdin.write(json.dumps([self._account, plain]) + "\n")
        self._process.stdin.flush()
        done = 0
        while (said := self._process.stdout.readline().split()) != ["end"]:
            assert said, "the callers' process ended"
            if said[0] == "pid":
                self._pid = int(said[1])
                self._started.set()
            else:
                done = int(said[1]) + 1
        return done

    def kill(self) -> None:
        assert self._started.wait(STARTS_WITHIN_S)
        os.kill(self._pid, signal.SIGKILL)

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture
def callers(cloud: StrictCloud) -> Iterator[Callers]:
    found = Callers(settings(cloud))
    yield found
    found.close()


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
async def test_a_caller_killed_at_any_call_leaves_what_another_one_finishes(
    cloud: StrictCloud, callers: Callers, after: bool
) -> None:
    blue = cloud.target_group("shop-blue")
    provider = await opened(cloud)
    number, killed, sizes = 0, True, set()
    while killed:
        number += 1
        name = f"shop-{number}-v000"
        story = life(name, launch(cloud, "shop-blue"))
        cloud.proxy.at_call(number, callers.kill, after=after)
        start = len(cloud.proxy.calls)
        done = callers.carry(story)
        killed = len(cloud.proxy.calls) - start >= number
        cloud.proxy.be_well()
        assert killed == (done < len(story)), f"killed at call {number}"
        # The next worker gets the changes that were not seen done: those the history does not hold as completed.
        for upto in range(done + 1, len(story) + 1):
            await carry(provider, story[:upto], first=upto - 1)
            group = (await provider.observe("shop")).find(name)
            sizes.add((upto, group.capacity.desired if group else None, cloud.running(name)))
        assert cloud.created.count(name) == 1, f"killed at call {number}"
        assert cloud.registered(blue) == set(), f"killed at call {number}"
    assert number > 40, "the calls were not counted"
    assert sizes == {(1, 2, 2), (2, 2, 2), (3, 2, 2), (4, 3, 3), (5, 1, 1), (6, 1, 1), (7, None, 0)}
    assert cloud.names("shop") == []
    assert [name for name in cloud.templates() if not name.endswith("-ended")] == []
    await provider.close()
