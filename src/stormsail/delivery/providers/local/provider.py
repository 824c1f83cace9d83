"""The provider `local`: server groups as processes of this machine behind a load balancer. Linux only.

Decisions that the contract leaves open:
* An instance that ends by itself is started again, at once if it had been healthy, else after 1, 2, 4 ... 60
  seconds. Every begin and resume does it, and so does the keeper that `reconcile` starts in a worker.
* `percent` is rounded in favour of serving: enabling 50 of 3 gives 2 instances traffic, disabling 50 of 3 leaves 2.
  Enabling never takes traffic away and disabling never gives any.
* Cancelling a resize, an enable or a disable puts the previous capacity or traffic back; a cancelled create is removed;
  a begun destroy cannot be undone and is carried to its end.
* A change that a later one overruled before it was done is a Conflict, since its effect can no longer be had.
"""

import asyncio
import contextlib
import errno
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

import structlog

from stormsail.delivery.model.network import Network
from stormsail.delivery.model.server_group import Health, Instance, Observation, ServerGroup
from stormsail.delivery.providers.errors import Permanent, ProviderError, Transient
from stormsail.delivery.providers.local import changes, entries, files, haproxy, process
from stormsail.delivery.providers.local.converge import Key, Situation, converge, look, restart_due_ms
from stormsail.delivery.providers.local.health import Check, get_status
from stormsail.delivery.providers.local.launch import LOOPBACK
from stormsail.delivery.providers.local.process import Found
from stormsail.delivery.providers.local.specification import server_group_moniker
from stormsail.delivery.providers.local.state import ApplicationFiles, GroupRecord, Home
from stormsail.delivery.providers.provider import Change, CreateServerGroup, NetworkChange, Progress, ServerGroupChange

BEGIN_SECONDS: Final = 1.0
RESUME_SECONDS: Final = 2.0
"""How long the verbs stay with a change before they say how it stands."""
CANCEL_SECONDS: Final = 2.0
KEEP_INTERVAL_S: Final = 1.0
TOKEN_LIFE_MS: Final = 30 * 24 * 3600 * 1000
DRAFT_LIFE_MS: Final = 3600 * 1000
CHECKS_AT_ONCE_MAX: Final = 16
_PAUSE_FIRST_S: Final = 0.02
_PAUSE_MAX_S: Final = 0.25

_Result = TypeVar("_Result")
_log = structlog.get_logger(__name__)


async def open_provider(account: str, settings: Mapping[str, str]) -> "LocalProvider":
    """Open the local provider on `settings["data_dir"]`. Raises Permanent where it cannot work."""
    check_platform(sys.platform)
    unknown = set(settings) - {"data_dir"}
    if unknown or not settings.get("data_dir"):
        wrong = f"does not know {', '.join(sorted(unknown))}" if unknown else "needs the setting data_dir"
        raise Permanent(f"the local provider {wrong}; its only setting is data_dir, a directory to keep its state in")
    home = Home(Path(settings["data_dir"]))
    with _sorted():
        await asyncio.to_thread(files.make_directory, home.root)
    return LocalProvider(account, home)


def check_platform(platform: str) -> None:
    """Raise Permanent where processes cannot be supervised."""
    if platform != "linux":
        raise Permanent(
            f"the local provider supervises processes by pidfd and /proc: it runs on Linux, and this is {platform}"
        )
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as failure:
        raise Permanent(f"the local provider needs pidfd_open (Linux 5.3 or newer): {failure.strerror}") from None


class LocalProvider:
    """One data directory. Any number of these, in any processes, may work on the same one."""

    def __init__(self, account: str, home: Home) -> None:
        self._account = account
        self._home = home
        self._keeper: asyncio.Task[None] | None = None
        self._checks_at_once = asyncio.Semaphore(CHECKS_AT_ONCE_MAX)

    @property
    def name(self) -> str:
        """The kind of provider."""
        return "local"

    @property
    def account(self) -> str:
        """The account's name."""
        return self._account

    async def begin(self, token: str, change: Change) -> Progress:
        """Start the change of this token, or find it begun; never do it twice."""
        with _sorted():
            if isinstance(change, NetworkChange):
                return await self._carry_network(token, change)
            return await self._carry(token, change, BEGIN_SECONDS)

    async def resume(self, token: str, change: Change) -> Progress:
        """Carry the change further and say how it stands."""
        with _sorted():
            if isinstance(change, NetworkChange):
                return await self._carry_network(token, change)
            return await self._carry(token, change, RESUME_SECONDS)

    async def cancel(self, token: str, change: Change) -> Progress:
        """Stop the change and undo what can be undone; `done` once nothing more will happen."""
        with _sorted():
            if isinstance(change, NetworkChange):
                return Progress(done=True, detail="it is done in one step: nothing to cancel")
            application = self._home.application_of(server_group_moniker(change.name))
            if not application.directory.is_dir():
                return Progress(done=True, detail="nothing was begun: nothing to cancel")
            withdrawn = await _locked(application, functools.partial(changes.withdraw, application, token, change))
            if not withdrawn:
                return Progress(done=True, detail="nothing was begun, or it is done: nothing to cancel")
            return await self._drive(
                application, CANCEL_SECONDS, lambda situation: changes.standing_of_cancel(situation, change)
            )

    async def observe(self, application: str) -> Observation:
        """Read all server groups of an application: its records, its processes and the load balancer's servers."""
        with _sorted():
            files_ = self._home.application(application)
            now_ms = _now_ms()
            if not files_.directory.is_dir():
                return Observation(account=self._account, application=application, as_of_ms=now_ms, server_groups=())
            situation = await _locked(files_, functools.partial(look, files_))
            if situation.balancer_failure and situation.groups:
                raise Transient(f"{situation.balancer_failure}; the worker starts it again")
            checks = await self._check(situation, tuple(situation.found))
            entry = files_.entry()
            return Observation(
                account=self._account,
                application=application,
                as_of_ms=now_ms,
                server_groups=tuple(
                    self._observed(files_, situation, group, checks, now_ms) for group in situation.groups
                ),
                address=f"{LOOPBACK}:{entry.port}" if entry and situation.groups else "",
            )

    async def network(self, application: str) -> Network:
        """Read the application's load balancer, if it has a port. There are no security groups here."""
        with _sorted():
            files_ = self._home.application(application)
            if not files_.directory.is_dir():
                return Network()
            return await _locked(files_, functools.partial(entries.network, files_))

    async def applications(self) -> tuple[str, ...]:
        """Read the names of the applications that have server groups, sorted."""
        with _sorted():
            found = await asyncio.to_thread(lambda: [one.name for one in self._home.applications() if one.groups()])
            return tuple(sorted(found))

    async def reconcile(self) -> None:
        """Bring processes and load balancers in line with the records, and keep them so until `close`."""
        with _sorted():
            await asyncio.to_thread(self._home.forget_tokens, _now_ms() - TOKEN_LIFE_MS)
            await asyncio.to_thread(self._home.forget_logs, _now_ms() - TOKEN_LIFE_MS)
            for area in ("applications", "tokens"):
                await asyncio.to_thread(files.sweep, self._home.root / area, _now_ms() - DRAFT_LIFE_MS)
            await self._keep_all({})
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name=f"local provider keeper of {self._account}")

    async def close(self) -> None:
        """Stop keeping. What is deployed stays up."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None

    async def _carry_network(self, token: str, change: NetworkChange) -> Progress:
        application = entries.refuse_what_is_not_here(self._home, change)
        await asyncio.to_thread(application.make)
        return await _locked(application, functools.partial(entries.admit, application, token, change))

    async def _carry(self, token: str, change: ServerGroupChange, seconds: float) -> Progress:
        application = self._home.application_of(server_group_moniker(change.name))
        ended = await asyncio.to_thread(changes.ended, self._home, token, change)
        if ended is None and isinstance(change, CreateServerGroup):
            await asyncio.to_thread(application.make)
        elif ended is None and not application.directory.is_dir():
            return changes.without_application(change)
        if ended is None:
            ended = await _locked(application, functools.partial(changes.admit, application, token, change, _now_ms()))
        if ended is not None:
            return ended
        settle = functools.partial(changes.settle, application, token, change)
        return await self._drive(application, seconds, settle)

    async def _drive(
        self, application: ApplicationFiles, seconds: float, judge: Callable[[Situation], Progress]
    ) -> Progress:
        """Run passes, at least one, until the judge says done or the time is over; return what it said last."""
        give_up_at = time.monotonic() + seconds
        pause = _PAUSE_FIRST_S
        situation = await _locked(application, functools.partial(look, application))
        while True:
            checks = await self._check(situation, situation.to_check())
            step = functools.partial(_pass, application, checks, judge)
            situation, standing = await _locked(application, step)
            if standing.done or time.monotonic() + pause > give_up_at:
                return standing
            await asyncio.sleep(pause)
            pause = min(_PAUSE_MAX_S, pause * 1.5)

    async def _check(self, situation: Situation, keys: tuple[Key, ...]) -> dict[Key, Check]:
        """Check the health of those of the instances that run, several at once."""

        async def check(key: Key, found: Found) -> Check:
            group = situation.group(key[0])
            assert group is not None and found.run is not None
            async with self._checks_at_once:
                healthy, detail = await get_status(LOOPBACK, found.run.port, group.launch.health_path)
            return Check(found.run.pid, found.run.start_ticks, healthy, detail)

        running = {key: situation.found[key] for key in keys if situation.found[key].alive}
        found = await asyncio.gather(*(check(key, one) for key, one in running.items()))
        return dict(zip(running, found, strict=True))

    def _observed(
        self,
        application: ApplicationFiles,
        situation: Situation,
        group: GroupRecord,
        checks: Mapping[Key, Check],
        now_ms: int,
    ) -> ServerGroup:
        instances = []
        for one in group.instances:
            key = (group.name, one.index)
            found = situation.found[key]
            if found.run is None:
                health, detail = Health.STARTING, "is about to be started"
            elif not found.alive:
                health, detail = Health.DOWN, _described_end(application, group, one.index, found, now_ms)
            else:
                health, detail = _running_health(found, checks[key], situation.gets_requests(*key), one.leaving)
            instances.append(
                Instance(
                    id=f"{group.name}:{one.index}",
                    health=health,
                    address=f"{LOOPBACK}:{found.run.port}" if found.run else "",
                    launched_at_ms=found.run.started_at_ms if found.run else 0,
                    detail=detail,
                )
            )
        return ServerGroup(
            name=group.name,
            account=self._account,
            location="local",
            capacity=group.capacity,
            enabled=group.enabled and not group.destroying,
            weight_percent=group.percent,
            request_percent=group.request_percent,
            instances=tuple(instances),
            launch=group.launch,
            created_at_ms=group.created_at_ms,
            enabled_at_ms=group.enabled_at_ms,
            token=group.token,
        )

    async def _keep(self) -> None:
        """Run passes over all applications for as long as the provider is open."""
        said: dict[str, str] = {}
        while True:
            await asyncio.sleep(KEEP_INTERVAL_S)
            try:
                await self._keep_all(said)
            except Exception:
                _log.exception("keeping the local provider's processes failed", account=self._account)

    async def _keep_all(self, said: dict[str, str]) -> None:
        """Run one pass over every application. One that fails does not keep the others from theirs."""
        for application in await asyncio.to_thread(lambda: list(self._home.applications())):
            try:
                problem = (await self._drive(application, 0.0, _problem)).detail
                await asyncio.to_thread(_trim_logs, application)
            except (ProviderError, OSError) as failure:
                problem = str(failure)
            if problem and said.get(application.name) != problem:
                _log.warning("local application is not as wanted", application=application.name, problem=problem)
            said[application.name] = problem


async def stop_everything(data_dir: Path) -> None:
    """Destroy every server group and stop every load balancer of a data directory, cutting off requests in flight."""
    home = Home(data_dir)
    provider = LocalProvider("local", home)
    with _sorted():
        for application in await asyncio.to_thread(lambda: list(home.applications())):
            await _locked(application, functools.partial(changes.abandon, application))
            gone = functools.partial(_gone, application)
            while not (await provider._drive(application, CANCEL_SECONDS, gone)).done:
                pass


def _pass(
    application: ApplicationFiles, checks: Mapping[Key, Check], judge: Callable[[Situation], Progress]
) -> tuple[Situation, Progress]:
    situation = converge(application, checks, _now_ms())
    return situation, judge(situation)


def _trim_logs(application: ApplicationFiles) -> None:
    for group in application.groups():
        for one in group.instances:
            process.trim(application.log(group.name, one.index))
    process.trim(application.balancer / "haproxy.log")


def _problem(situation: Situation) -> Progress:
    return Progress(done=True, detail=situation.balancer_failure if situation.groups else "")


def _gone(application: ApplicationFiles, situation: Situation) -> Progress:
    return Progress(done=not situation.groups and haproxy.stop(application, _now_ms()))


async def _locked(application: ApplicationFiles, step: Callable[[], _Result]) -> _Result:
    """Run a short synchronous step under the application's lock, in a thread. Cancelled, it still runs to its end."""

    def hold() -> _Result:
        with files.locked(application.lock):
            return step()

    return await asyncio.to_thread(hold)


@contextlib.contextmanager
def _sorted() -> Iterator[None]:
    """Turn what the operating system refuses into the contract's errors."""
    try:
        yield
    except PermissionError as failure:
        raise Permanent(f"not permitted: {failure.filename or failure}; run as the user that owns it") from failure
    except OSError as failure:
        place = f" ({failure.filename})" if failure.filename else ""
        what = failure.strerror or str(failure)
        if failure.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Transient(f"cannot write the provider's state{place}: {what}; free some space") from failure
        raise Transient(f"{what}{place}") from failure


def _described_end(application: ApplicationFiles, group: GroupRecord, index: int, found: Found, now_ms: int) -> str:
    assert found.run is not None
    wait_s = max(0, restart_due_ms(found) - now_ms) / 1000
    times = f" (start {found.run.starts} without becoming healthy)" if not found.was_healthy else ""
    said = process.tail(application.log(group.name, index))
    return f"{found.described_end()}{times}; starts again in {wait_s:.0f} s; last log lines: {said or '(none)'}"


def _running_health(found: Found, check: Check, takes_traffic: bool, leaving: bool) -> tuple[Health, str]:
    if not check.healthy:
        return (Health.DOWN if found.was_healthy else Health.STARTING), check.detail
    if takes_traffic:
        return Health.UP, check.detail
    return Health.OUT_OF_SERVICE, "is being removed" if leaving else f"{check.detail}; takes no traffic"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
