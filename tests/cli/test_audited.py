"""What commands change is in the same audit as the page's changes, with how it ended; without one they still work."""

from pathlib import Path

import pytest
from temporalio.service import RPCError, RPCStatusCode

from stormsail.cli.audited import Entry, Written, audited, records_of
from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.options import Place
from stormsail.cli.whoever import requested_by
from stormsail.delivery.records.audit import AuditRecord, AuditState, AuditTrail
from stormsail.delivery.records.database import FILE, Database, records_url

ENTRY = Entry("schedule.trigger", "schedule/nightly", "the report was wrong", after={"overlap": "AllowAll"})


async def told(place: Place) -> list[AuditRecord]:
    database = await Database.open(records_url(place.data_dir))
    try:
        return await AuditTrail(database).page(limit=10)
    finally:
        await database.close()


async def with_records(directory: Path) -> Place:
    await (await Database.open(records_url(directory))).close()
    return Place("", "default", directory)


async def change(place: Place, error: BaseException | None = None) -> Written:
    async with audited(place, ENTRY) as written:
        written.outcome["run_id"] = "0190"
        if error is not None:
            raise error
    return written


@pytest.mark.slow
async def test_a_command_writes_who_why_and_how_it_ended(tmp_path: Path) -> None:
    place = await with_records(tmp_path)
    written = await change(place)
    assert written.by == f"cli:{requested_by()}"
    for error, state in (
        (RPCError("no such schedule", RPCStatusCode.NOT_FOUND, b""), AuditState.REFUSED),
        (RPCError("the engine went away", RPCStatusCode.UNAVAILABLE, b""), AuditState.UNKNOWN),
        (CommandFailed("turned down", code=ExitCode.CONFLICT), AuditState.REFUSED),
        (KeyboardInterrupt(), AuditState.UNKNOWN),
    ):
        with pytest.raises(type(error)):
            await change(place, error)
        assert (await told(place))[0].state is state
    first = (await told(place))[-1]
    assert (first.state, first.via, first.verb, first.target) == ("done", "cli", "schedule.trigger", "schedule/nightly")
    assert (first.principal, first.reason) == (written.by, "the report was wrong")
    assert (first.after, first.outcome) == ({"overlap": "AllowAll"}, {"run_id": "0190"})


@pytest.mark.slow
async def test_records_that_cannot_be_written_stop_no_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / FILE).write_text("this is no database at all, and it is long enough to be looked at" * 20)
    written = await change(Place("", "default", tmp_path))
    assert written.by == requested_by()
    assert "warning: this is not written to the audit: the records cannot be opened" in capsys.readouterr().err


async def test_where_there_are_no_records_a_command_says_that_its_reason_is_kept_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = await change(Place("", "default", tmp_path))
    assert written.by == requested_by()
    assert "it is kept nowhere" in capsys.readouterr().err


def test_the_records_of_a_data_directory_are_not_those_of_another_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STORMSAIL_RECORDS_URL", raising=False)
    (tmp_path / FILE).touch()
    assert records_of(Place("", "default", tmp_path)) == records_url(tmp_path)
    assert records_of(Place("temporal.example:7233", "default", tmp_path)) == ""
    monkeypatch.setenv("STORMSAIL_RECORDS_URL", "postgresql+asyncpg://records.example/stormsail")
    assert records_of(Place("temporal.example:7233", "default", tmp_path)).startswith("postgresql")
