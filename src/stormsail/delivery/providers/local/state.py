"""What the local provider remembers on disk: applications, server groups and tokens, and where each file lies.

    <data dir>/local/applications/<app>.app/   application.json  lock  balancer/  groups/<name>/
    .../groups/<name>/                         group.json  instances/<index>/   (see launch.py)
    <data dir>/local/tokens/<hash>.json        what each token asked for and how it ended
    <data dir>/local/logs/<name>/<index>.log   kept when the group is gone

A group's record is what is *wanted*; what *is* there is read from processes and load balancer at each look. One
write of `group.json` both applies a change and notes its token, which is what makes a change happen once.
"""

import hashlib
import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from stormsail.delivery.model.names import Moniker
from stormsail.delivery.model.server_group import Capacity, LaunchSpec
from stormsail.delivery.providers.errors import InvalidLaunch, NotFound, Permanent
from stormsail.delivery.providers.local import files

CHANGES_MAX: Final = 200
"""Changes that a group's record remembers, newest kept. Ended ones are remembered by their token's file as well."""


class InstanceRecord(BaseModel):
    """One instance that a group has. `index` is never given twice within a group."""

    model_config = ConfigDict(frozen=True)

    index: int
    leaving: bool = False
    """Whether it is to be drained, stopped and forgotten."""
    out: bool = False
    """Whether it was taken out of traffic by itself."""
    draining_since_ms: int = 0
    """When traffic was last taken away, 0 while it has traffic or never had any."""


class AppliedChange(BaseModel):
    """A change that was applied, with what it replaced, so that a cancel can put it back."""

    model_config = ConfigDict(frozen=True)

    token: str
    kind: str
    capacity: Capacity
    enabled: bool
    percent: int
    request_percent: int | None = None
    enabled_at_ms: int = 0
    out: tuple[int, ...] = ()
    """The indexes of the instances that were out of traffic."""


class GroupRecord(BaseModel):
    """What is wanted of one server group."""

    model_config = ConfigDict(frozen=True)

    name: str
    token: str
    capacity: Capacity
    launch: LaunchSpec
    directory: str
    """The working directory of its instances."""
    created_at_ms: int
    enabled: bool
    enabled_at_ms: int = 0
    """When traffic was last wanted for it; 0 when it never was."""
    percent: int = 100
    request_percent: int | None = None
    """The share of its cluster's requests, where it was given one by weight."""
    destroying: bool = False
    failure: str = ""
    """Why it could not be launched; it is being removed because of that."""
    instances: tuple[InstanceRecord, ...] = ()
    next_index: int = 0
    changes: tuple[AppliedChange, ...] = ()

    def applied(self, token: str) -> AppliedChange | None:
        """Return the change that this token applied, if it is remembered."""
        return next((change for change in self.changes if change.token == token), None)

    def superseded(self, token: str) -> bool:
        """Tell whether a later change set what this token's change had set."""
        mine = self.applied(token)
        return mine is not None and any(
            later.kind in _SETS_THE_SAME[mine.kind] for later in self.changes[self.changes.index(mine) + 1 :]
        )

    def applying(self, token: str, kind: str, **wanted: Any) -> "GroupRecord":
        """Return the record with a change applied and noted."""
        note = AppliedChange(
            token=token,
            kind=kind,
            capacity=self.capacity,
            enabled=self.enabled,
            percent=self.percent,
            request_percent=self.request_percent,
            enabled_at_ms=self.enabled_at_ms,
            out=tuple(one.index for one in self.instances if one.out),
        )
        return self.model_copy(update={**wanted, "changes": (*self.changes, note)[-CHANGES_MAX:]}).sized()

    def sized(self) -> "GroupRecord":
        """Return the record with instances added, or the newest marked as leaving, until `desired` stay."""
        wanted = 0 if self.destroying else self.capacity.desired
        staying = [one.index for one in self.instances if not one.leaving]
        if len(staying) < wanted:
            # One that is still on its way out is gone for good: a new index keeps "once per index" plain.
            added = range(self.next_index, self.next_index + wanted - len(staying))
            more = tuple(InstanceRecord(index=index) for index in added)
            return self.model_copy(update={"instances": self.instances + more, "next_index": added.stop})
        kept = set(staying[:wanted])
        return self.model_copy(
            update={
                "instances": tuple(
                    one if one.index in kept else one.model_copy(update={"leaving": True}) for one in self.instances
                )
            }
        )

    def staying(self) -> tuple[int, ...]:
        """Return the indexes of the instances that are not leaving, oldest first."""
        return tuple(one.index for one in self.instances if not one.leaving)

    def with_traffic(self) -> tuple[int, ...]:
        """Return the indexes that are to take traffic: the oldest, rounded up in favour of serving."""
        staying = self.staying()
        if not self.enabled or self.destroying:
            return ()
        out = {one.index for one in self.instances if one.out}
        return tuple(index for index in staying[: -(-len(staying) * self.percent // 100)] if index not in out)

    def leaving(self, indexes: Collection[int]) -> tuple[InstanceRecord, ...]:
        """Return the instances with some of them on their way out."""
        return tuple(one.model_copy(update={"leaving": one.leaving or one.index in indexes}) for one in self.instances)

    def with_out(self, out: Collection[int]) -> tuple[InstanceRecord, ...]:
        """Return the instances with exactly these out of traffic."""
        return tuple(one.model_copy(update={"out": one.index in out}) for one in self.instances)


_SETS_THE_SAME: Final[dict[str, tuple[str, ...]]] = {
    "resizeServerGroup": ("resizeServerGroup",),
    "enableServerGroup": ("enableServerGroup", "disableServerGroup"),
    "disableServerGroup": ("enableServerGroup", "disableServerGroup"),
    "shiftTraffic": ("shiftTraffic",),
    "destroyServerGroup": (),
    "terminateInstances": (),
    "registerInstances": ("registerInstances", "deregisterInstances", "enableServerGroup"),
    "deregisterInstances": ("registerInstances", "deregisterInstances", "enableServerGroup"),
}
"""Which later changes replace what a change had set."""


class Entry(BaseModel):
    """Where an application's traffic enters: a loopback port, fixed once the load balancer has run on it."""

    model_config = ConfigDict(frozen=True)

    port: int
    asked_for: bool
    """Whether a person named the port; else we picked it and may pick another until it is first used."""


class TokenRecord(BaseModel):
    """What a token asked for, and how that ended once it has."""

    model_config = ConfigDict(frozen=True)

    token: str
    change: dict[str, Any]
    ended: bool = False
    detail: str = ""
    output: dict[str, Any] = {}
    failure_kind: str = ""
    """The `kind` of the error to raise for this token again, or empty."""
    canceled: bool = False


class ApplicationFiles:
    """The files of one application."""

    def __init__(self, home: "Home", name: str) -> None:
        self.home = home
        self.name = name
        self.directory = home.root / "applications" / f"{name}.app"
        self.lock = self.directory / "lock"
        self.balancer = self.directory / "balancer"
        self.groups_directory = self.directory / "groups"

    def make(self) -> None:
        """Create the application's directories."""
        files.make_directory(self.groups_directory)
        files.make_directory(self.balancer)

    def entry(self) -> "Entry | None":
        """Return where the application's traffic enters, or None before that was settled."""
        text = files.read_file(self.directory / "application.json")
        return None if text is None else Entry.model_validate(_decoded(self.directory / "application.json", text))

    def write_entry(self, entry: "Entry") -> None:
        """Settle where the application's traffic enters."""
        files.write_file(self.directory / "application.json", entry.model_dump_json())

    def remove_entry(self) -> None:
        """Forget where the application's traffic enters."""
        files.remove_file(self.directory / "application.json")

    def group_directory(self, name: str) -> Path:
        """Return a group's directory."""
        return self.groups_directory / name

    def instance_directory(self, group: str, index: int) -> Path:
        """Return an instance's directory."""
        return self.group_directory(group) / "instances" / str(index)

    def log(self, group: str, index: int) -> Path:
        """Return an instance's log file."""
        return self.home.root / "logs" / group / f"{index}.log"

    def groups(self) -> tuple[GroupRecord, ...]:
        """Read all groups, oldest first."""
        found = [group for name in files.names(self.groups_directory) if (group := self.group(name))]
        return tuple(sorted(found, key=lambda group: (group.created_at_ms, group.name)))

    def group(self, name: str) -> GroupRecord | None:
        """Read one group, or None. A group is there exactly when its record is."""
        path = self.group_directory(name) / "group.json"
        text = files.read_file(path)
        if text is None:
            return None
        try:
            return GroupRecord.model_validate(_decoded(path, text))
        except ValidationError as damage:
            raise Permanent(f"{path} is damaged ({damage.error_count()} fields): restore or remove it") from None

    def write_group(self, group: GroupRecord) -> None:
        """Write a group's record, and with it whatever change it carries."""
        files.make_directory(self.group_directory(group.name))
        files.write_file(self.group_directory(group.name) / "group.json", group.model_dump_json())

    def remove_group(self, group: GroupRecord) -> None:
        """Forget a group. Its tokens are ended first, so that none of them can ever make it again."""
        unended = {group.token: "createServerGroup", **{change.token: change.kind for change in group.changes}}
        for token, kind in unended.items():
            record = self.home.token(token)
            if record is None or record.ended:
                continue
            end = {"ended": True, "detail": f"server group {group.name} was destroyed"}
            if kind not in ("createServerGroup", "destroyServerGroup"):
                end["failure_kind"] = NotFound.kind
            elif token == group.token and group.failure:
                end |= {"failure_kind": InvalidLaunch.kind, "detail": group.failure}
            self.home.write_token(record.model_copy(update=end))
        files.remove_tree(self.group_directory(group.name))


class Home:
    """The provider's directory."""

    def __init__(self, data_dir: Path) -> None:
        # Resolved, because /proc shows the files that a process has open by their real paths.
        self.data_dir = data_dir.resolve()
        self.root = self.data_dir / "local"

    def application(self, name: str) -> ApplicationFiles:
        """Return the files of an application, which need not exist."""
        return ApplicationFiles(self, name)

    def application_of(self, moniker: Moniker) -> ApplicationFiles:
        """Return the files of the application that a server group belongs to."""
        return ApplicationFiles(self, moniker.app)

    def applications(self) -> Iterator[ApplicationFiles]:
        """Yield every application that has files, with or without groups."""
        for name in files.names(self.root / "applications"):
            yield ApplicationFiles(self, name.removesuffix(".app"))

    def token(self, token: str) -> TokenRecord | None:
        """Read what is known of a token."""
        path = self._token_path(token)
        text = files.read_file(path)
        return None if text is None else TokenRecord.model_validate(_decoded(path, text))

    def write_token(self, record: TokenRecord) -> None:
        """Write what is known of a token."""
        files.make_directory(self.root / "tokens")
        files.write_file(self._token_path(record.token), record.model_dump_json())

    def claim_token(self, record: TokenRecord) -> TokenRecord:
        """Write a token's record unless one is there; return the one that is."""
        files.make_directory(self.root / "tokens")
        path = self._token_path(record.token)
        draft = path.with_name(f"{path.name}.{os.getpid()}-{id(record)}.tmp")
        files.write_file(draft, record.model_dump_json())
        try:
            # A link, unlike a rename, fails where the name is taken: of two claimants one wins.
            os.link(draft, path)
            files.sync_directory(path.parent)
        except FileExistsError:
            pass
        finally:
            files.remove_file(draft)
        return self.token(record.token) or record

    def forget_tokens(self, older_than_ms: int) -> None:
        """Remove the records of tokens that ended long ago, so that they do not pile up for ever."""
        for path in (self.root / "tokens").glob("*.json"):
            text = files.read_file(path)
            if text and path.stat().st_mtime_ns // 1_000_000 < older_than_ms and _decoded(path, text).get("ended"):
                files.remove_file(path)

    def forget_logs(self, older_than_ms: int) -> None:
        """Remove the logs of groups that have been gone for long."""
        there = {group.name for application in self.applications() for group in application.groups()}
        for name in files.names(self.root / "logs"):
            path = self.root / "logs" / name
            written_at_ms = max((log.stat().st_mtime_ns for log in path.iterdir()), default=0) // 1_000_000
            if name not in there and written_at_ms < older_than_ms:
                files.remove_tree(path)

    def _token_path(self, token: str) -> Path:
        return self.root / "tokens" / f"{hashlib.sha256(token.encode()).hexdigest()}.json"


def _decoded(path: Path, text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError:
        raise Permanent(f"{path} is damaged: it is not JSON; restore or remove it") from None
    return found
