"""A disk in memory under unmodified SQLite, which keeps only what was synced when its power is cut.

Every write is pending until the file is synced. A power cut keeps each pending sector of 512 bytes with a chance of a
half: a long write may so be torn. A file's name is on disk once the file was synced, as SQLite sees to on Unix.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import apsw

SECTOR: Final = 512
UNIX_SECTOR: Final = 4_096
"""What SQLite takes a sector for on Unix."""
KEPT: Final = 0.5
"""The chance of a pending sector to survive a power cut."""


class PowerIsOff(apsw.IOError):
    """The machine is gone; the code that still runs in this instant learns of it by this."""


@dataclass(slots=True)
class _Stored:
    """One file: what a reader sees, and what of it is not synced yet, sector by sector as it was before."""

    data: bytearray = field(default_factory=bytearray)
    before: dict[int, bytes] = field(default_factory=dict)
    synced_size: int = 0
    named: bool = False
    """Whether its directory entry is on disk."""


@dataclass(slots=True)
class Counts:
    """What the disk did so far."""

    writes: int = 0
    syncs: int = 0
    cuts: int = 0
    lost_sectors: int = 0
    faults: int = 0
    fulls: int = 0


class SimDisk:
    """The files of one simulated machine, and what can go wrong with them."""

    def __init__(self, chance: random.Random, note: Callable[[str], None] = lambda _: None) -> None:
        self._chance = chance
        self._note = note
        self._files: dict[str, _Stored] = {}
        self.counts = Counts()
        self.powered = True
        self.boot = 0
        """Files opened in an earlier boot are no longer open: their process is gone."""
        self.full = False
        """No write may make a file longer."""
        self.calls = 0
        """Reads, writes, syncs and truncations so far."""
        self.fail_at = 0
        """The call, by that count, which fails once with an I/O error."""
        self.end_at = 0
        """The call at which the process ends; with the power cut, where `end_cuts`."""
        self.end_cuts = False
        self.on_end: Callable[[], None] = lambda: None
        """Told when the process ends at a call."""
        self.syncing: Callable[[str], bool] = lambda _name: True
        """Whether a sync of this file is honest. One that is not says that it did what it did not."""
        self.preparing = True
        """Whether `prepare` syncs."""
        self.naming: Callable[[str], bool] = lambda _name: True
        """Whether a sync also secures the file's name."""

    def prepare(self, name: str) -> None:
        """Make an empty file where there is none, and sync it and its log, names included, as the store does."""
        self._files.setdefault(name, _Stored())
        if not self.preparing:
            return
        for each in (name, f"{name}-wal"):
            if each in self._files:
                self.sync(each, self._files[each])
                self._files[each].named = True

    def cut_power(self) -> None:
        """Lose what was not synced, each sector with a chance of a half. Nothing can be done until `power_on`."""
        if not self.powered:
            return
        self.powered = False
        self.boot += 1
        self.counts.cuts += 1
        for name in sorted(self._files):
            self._tear(name, self._files[name])
        self._note(f"power is cut, {self.counts.lost_sectors} sectors lost so far")

    def end_process(self) -> None:
        """Close every file, losing nothing: what was written is with the kernel."""
        self.boot += 1

    def rot(self, name: str, bits: int) -> None:
        """Change bits of a file that nobody has open."""
        data = self._files[name].data
        for _ in range(bits):
            place = self._chance.randrange(len(data))
            data[place] ^= 1 << self._chance.randrange(8)
        self._note(f"{bits} bits of {name} have changed")

    def power_on(self) -> None:
        """Come back with what is left. Faults that were to come are forgotten."""
        self.powered = True
        self.fail_at = self.end_at = 0

    def _tear(self, name: str, stored: _Stored) -> None:
        if not stored.named and self._chance.random() >= KEPT:
            del self._files[name]
            self._note(f"{name} lost its name")
            return
        for place in sorted(stored.before):
            if self._chance.random() >= KEPT:
                was = stored.before[place]
                stored.data[place : place + len(was)] = was
                self.counts.lost_sectors += 1
        if len(stored.data) != stored.synced_size and self._chance.random() >= KEPT:
            # A file that grew or shrank may have either length; grown by a later sector, the hole reads as zeros.
            del stored.data[stored.synced_size :]
            stored.data.extend(bytes(stored.synced_size - len(stored.data)))
        stored.before.clear()
        stored.synced_size = len(stored.data)
        stored.named = True

    # What SQLite's calls become.

    def step(self, doing: str, name: str, boot: int) -> None:
        """Count a call, and have happen what is to happen at it."""
        if not self.powered or boot != self.boot:
            raise PowerIsOff(f"{doing} {name}: its process is gone")
        self.calls += 1
        if self.end_at and self.calls >= self.end_at:
            self.end_at = 0
            self._note(f"the process ends at {doing} {name}")
            if self.end_cuts:
                self.cut_power()
            else:
                self.end_process()
            self.on_end()
            raise PowerIsOff(f"{doing} {name}: the process ended")
        if self.fail_at and self.calls >= self.fail_at:
            self.fail_at = 0
            self.counts.faults += 1
            self._note(f"{doing} {name} fails")
            raise apsw.IOError(f"{doing} {name}: simulated I/O error")

    @property
    def digest(self) -> str:
        """The hash of every byte that a reader sees."""
        hashed = hashlib.blake2b(digest_size=8)
        for name in sorted(self._files):
            data = self._files[name].data
            hashed.update(f"{name} {len(data)} ".encode())
            hashed.update(data)
        return hashed.hexdigest()

    def open(self, name: str) -> _Stored:
        """Find a file, or make one whose name is not on disk yet."""
        return self._files.setdefault(name, _Stored())

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        return name in self._files

    def delete(self, name: str) -> None:
        """Remove a file. SQLite does so with nothing that matters in it, so there is no coming back."""
        self._files.pop(name, None)

    def write(self, name: str, stored: _Stored, data: bytes, offset: int) -> None:
        """Write, pending."""
        end = offset + len(data)
        size = len(stored.data)
        if end > size:
            if self.full:
                self.counts.fulls += 1
                raise apsw.FullError(f"write {name}: simulated full disk")
            stored.data.extend(bytes(end - size))
        for place in range(offset // SECTOR * SECTOR, end, SECTOR):
            if place not in stored.before:
                stored.before[place] = bytes(stored.data[place : place + SECTOR])
        stored.data[offset:end] = data
        self.counts.writes += 1

    def truncate(self, stored: _Stored, size: int) -> None:
        """Cut a file off."""
        del stored.data[size:]

    def sync(self, name: str, stored: _Stored) -> None:
        """Make what was written stay."""
        self.counts.syncs += 1
        if not self.syncing(name):
            return
        stored.before.clear()
        stored.synced_size = len(stored.data)
        if self.naming(name):
            stored.named = True


class SimVfs(apsw.VFS):
    """SQLite's door to a SimDisk, and its default until it is unregistered: one at a time."""

    def __init__(self, name: str, disk: SimDisk) -> None:
        self.name = name
        self.disk = disk
        # SQLite asks its default disk alone for chance, and once a process: what it drew for others must be forgotten.
        super().__init__(name, "", makedefault=True, exclude=_LEFT_OUT)
        apsw.randomness(0)

    def unregister(self) -> None:
        """Be SQLite's disk no more; what it draws from now on is by real chance again."""
        super().unregister()
        apsw.randomness(0)

    def xOpen(self, name: Any, flags: list[int]) -> "SimFile":  # type: ignore[override]  # noqa: N802 - SQLite's name
        """Open a file; temporary ones stay in memory, by PRAGMA temp_store."""
        flags[1] = flags[0]
        return SimFile(self.disk, name.filename() if isinstance(name, apsw.URIFilename) else str(name))

    def xAccess(self, pathname: str, flags: int) -> bool:  # noqa: N802, ARG002
        """Whether a file is there; all are readable."""
        return self.disk.exists(pathname)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802, ARG002
        """Remove a file."""
        self.disk.step("delete", filename, self.disk.boot)
        self.disk.delete(filename)

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        """Names are full."""
        return name

    def xRandomness(self, numbytes: int) -> bytes:  # noqa: N802
        """What SQLite salts its log with; the same always, for a salt that differs by run would differ by replay."""
        return bytes(numbytes)

    def xSleep(self, microseconds: int) -> int:  # noqa: N802
        """Nobody else holds a lock here, so nobody waits for one."""
        return microseconds


class SimFile:
    """An open file, with SQLite's names for what can be done with it."""

    def __init__(self, disk: SimDisk, name: str) -> None:
        self._disk = disk
        self._name = name
        self._boot = disk.boot
        self._stored = disk.open(name)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        self._disk.step("read", self._name, self._boot)
        return bytes(self._stored.data[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.step("write", self._name, self._boot)
        self._disk.write(self._name, self._stored, data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802, ARG002
        self._disk.step("sync", self._name, self._boot)
        self._disk.sync(self._name, self._stored)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._disk.step("truncate", self._name, self._boot)
        self._disk.truncate(self._stored, newsize)

    def xFileSize(self) -> int:  # noqa: N802
        return len(self._stored.data)

    def xLock(self, level: int) -> None:  # noqa: N802
        """One connection holds it anyway."""

    def xUnlock(self, level: int) -> None:  # noqa: N802
        """See xLock."""

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xFileControl(self, op: int, ptr: int) -> bool:  # noqa: N802, ARG002
        return False

    def xSectorSize(self) -> int:  # noqa: N802
        return UNIX_SECTOR

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        # As SQLite has it on Unix: a power cut damages no byte beside those being written. Without it SQLite pads its
        # log after a commit, and a disk that fills up in the padding has refused a commit that a restart brings back.
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE

    def xClose(self) -> None:  # noqa: N802
        """Nothing to give back."""


_LEFT_OUT: Final = {"xSetSystemCall", "xGetSystemCall", "xNextSystemCall", "xDlOpen", "xDlSym", "xDlClose", "xDlError"}
