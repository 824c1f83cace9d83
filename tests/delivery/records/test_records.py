"""The audit says what was changed, also where whoever changed it died; an idempotency key has one answer for ever."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from stormsail.delivery.records import database as database_module
from stormsail.delivery.records.answers import AnotherRequest, Answered, Answers, Claimed, InProgress
from stormsail.delivery.records.audit import CHANGE_MAX_MS, AuditState, AuditTrail, Change
from stormsail.delivery.records.database import HEAD, Database, RecordsNewer, RecordsUnavailable, records_url
from stormsail.delivery.records.keys import BadGrant, Grant, Keys, NoSuchKey, Role
from stormsail.delivery.records.tables import METADATA

ANOTHER = "STORMSAIL_TEST_DATABASE_URL"

CHANGE = Change(
    principal="local:ada",
    via="api",
    verb="operation.retry",
    target="operation/0190",
    application="web",
    account="local",
    reason="because",
    idempotency_key="k1",
    before={"state": "waiting"},
    after={"step": "enable"},
)


class Clock:
    def __init__(self) -> None:
        self.at_ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.at_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file with all tables made: making them anew for each test would be most of its time."""
    directory = tmp_path_factory.mktemp("records")

    async def make() -> None:
        await (await Database.open(records_url(directory))).close()

    asyncio.run(make())
    return (directory / "delivery.db").read_bytes()


@pytest.fixture(params=["sqlite", "another"])
async def url(request: pytest.FixtureRequest, tmp_path: Path, migrated: bytes) -> str:
    """Where empty records are: a file of their own, or the database that the environment names, made empty."""
    if request.param == "sqlite":
        (tmp_path / "delivery.db").write_bytes(migrated)
        (tmp_path / "delivery.db").chmod(0o600)
        return records_url(tmp_path)
    named = os.environ.get(ANOTHER, "")
    if not named:
        pytest.skip(f"{ANOTHER} names no database to run this on; everything in that database would be dropped")
    engine = create_async_engine(named)
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.drop_all)
        await connection.exec_driver_sql("DROP TABLE IF EXISTS alembic_version")
    await engine.dispose()
    return named


@pytest.fixture
async def database(url: str, clock: Clock) -> AsyncIterator[Database]:
    database = await Database.open(url, clock)
    yield database
    await database.close()


def answers_of(database: Database) -> Answers:
    return Answers(database, AuditTrail(database))


async def test_a_change_is_in_the_audit_before_it_is_made_and_whole_after(database: Database, clock: Clock) -> None:
    trail, answers = AuditTrail(database), answers_of(database)
    claim = await answers.claim(CHANGE, b"retry")
    assert isinstance(claim, Claimed)
    [pending] = await trail.page(limit=10)
    assert (pending.state, pending.ended_at_ms, pending.before) == (AuditState.PENDING, None, {"state": "waiting"})
    clock.at_ms += 40
    await answers.answer(CHANGE, claim.audit_id, AuditState.DONE, "", 200, b'{"id": "x"}')
    [done] = await trail.page(limit=10)
    assert (done.state, done.ended_at_ms, done.outcome) == (AuditState.DONE, clock.at_ms, {"id": "x"})
    assert (done.principal, done.reason, done.verb, done.after) == (
        "local:ada",
        "because",
        "operation.retry",
        {"step": "enable"},
    )


async def test_the_same_key_has_the_same_answer_and_another_request_under_it_is_told(database: Database) -> None:
    answers = answers_of(database)
    claim = await answers.claim(CHANGE, b"retry")
    assert isinstance(claim, Claimed)
    assert await answers.claim(CHANGE, b"retry") == InProgress()
    await answers.answer(CHANGE, claim.audit_id, AuditState.DONE, "", 201, b"{}")
    assert await answers.claim(CHANGE, b"retry") == Answered(201, b"{}")
    assert await answers.claim(CHANGE, b"skip") == AnotherRequest()
    assert await answers_of(database).claim(CHANGE, b"retry") == Answered(201, b"{}")
    assert len(await AuditTrail(database).page(limit=10)) == 1


async def test_two_processes_that_claim_one_key_at_once_make_one_change(
    database: Database, url: str, clock: Clock
) -> None:
    other = await Database.open(url, clock)
    both = (answers_of(database), answers_of(other))
    claims = await asyncio.gather(*(answers.claim(CHANGE, b"retry") for _ in range(5) for answers in both))
    assert [type(claim) for claim in claims].count(Claimed) == 1
    assert claims.count(InProgress()) == 9
    assert len(await AuditTrail(other).page(limit=10)) == 1
    await other.close()


async def test_a_text_that_no_database_need_take_is_kept_without_what_it_cannot_hold(database: Database) -> None:
    trail = AuditTrail(database)
    async with database.transaction() as connection:
        await trail.begin(connection, replace(CHANGE, reason="a\0b", target="workflow/\0", before={"x": "\0"}))
    [record] = await trail.page(limit=1)
    assert (record.reason, record.target, record.before) == ("a\ufffdb", "workflow/\ufffd", {"x": "\0"})


async def test_of_many_at_once_one_may_make_the_change(database: Database) -> None:
    answers = answers_of(database)
    claims = await asyncio.gather(*(answers.claim(CHANGE, b"retry") for _ in range(10)))
    assert [type(claim) for claim in claims].count(Claimed) == 1
    assert claims.count(InProgress()) == 9


async def test_a_key_without_an_answer_may_be_used_again(database: Database) -> None:
    answers = answers_of(database)
    claim = await answers.claim(CHANGE, b"retry")
    assert isinstance(claim, Claimed)
    await answers.release(CHANGE, claim.audit_id, AuditState.UNKNOWN, "the engine went away")
    assert isinstance(await answers.claim(CHANGE, b"retry"), Claimed)
    states = [record.state for record in await AuditTrail(database).page(limit=10)]
    assert states == [AuditState.PENDING, AuditState.UNKNOWN]


async def test_a_change_whose_process_is_gone_is_unknown_and_its_key_is_taken_over(
    database: Database, url: str, clock: Clock
) -> None:
    other = await Database.open(url, clock)
    # A process that has ended: the kernel gives out no id above its maximum.
    other.process = f"{os.uname().nodename}/99999999/x"
    assert isinstance(await answers_of(other).claim(CHANGE, b"retry"), Claimed)
    await other.close()
    trail = AuditTrail(database)
    await trail.settle()
    [record] = await trail.page(limit=10)
    assert record.state is AuditState.UNKNOWN
    assert "ended before it heard" in record.message
    assert isinstance(await answers_of(database).claim(CHANGE, b"retry"), Claimed)


async def test_a_change_of_another_machine_that_was_never_settled_is_unknown_once_none_can_run_so_long(
    database: Database, clock: Clock
) -> None:
    database.process = "elsewhere/1/x"
    await answers_of(database).claim(CHANGE, b"retry")
    clock.at_ms += CHANGE_MAX_MS
    trail = AuditTrail(database)
    await trail.settle()
    assert [record.state for record in await trail.page(limit=10)] == [AuditState.PENDING]
    clock.at_ms += 1
    assert [record.state for record in await trail.page(limit=10)] == [AuditState.UNKNOWN]


async def test_the_audit_is_read_page_by_page_narrowed_and_exported_in_order(database: Database, clock: Clock) -> None:
    trail = AuditTrail(database)
    for number in range(7):
        clock.at_ms += number % 2
        async with database.transaction() as connection:
            await trail.begin(connection, Change("local:ada", "api", "operation.retry", f"operation/{number % 2}"))
    seen: list[int] = []
    before = None
    while page := await trail.page(limit=3, before=before):
        seen += [record.id for record in page]
        before = (page[-1].at_ms, page[-1].id)
    assert seen == [7, 6, 5, 4, 3, 2, 1]
    assert [record.id for record in await trail.page(limit=9, target="operation/1")] == [6, 4, 2]
    assert [record.id async for record in trail.export()] == [1, 2, 3, 4, 5, 6, 7]


async def test_the_audit_outlives_its_time_by_nothing(database: Database, clock: Clock) -> None:
    trail = AuditTrail(database)
    async with database.transaction() as connection:
        await trail.begin(connection, CHANGE)
    clock.at_ms += 400 * 86_400_000
    await trail.settle(400)
    assert len(await trail.page(limit=1)) == 1
    clock.at_ms += 1
    await trail.settle(400)
    assert await trail.page(limit=1) == []


async def test_a_key_opens_until_it_ends_and_a_rotated_one_for_the_overlap(database: Database, clock: Clock) -> None:
    keys = Keys(database)
    key, text = await keys.create("ci", [Grant(Role.WRITE, "web", "local")], clock.at_ms + 1000)
    assert await keys.find(text) == key
    for wrong in (text[:-1], text + "x", text.replace("ss_", "xx_"), "", "ss__", "ss_nobody_secret"):
        assert await keys.find(wrong) is None
    new, new_text = await keys.rotate(key.id, 100, clock.at_ms + 5000)
    clock.at_ms += 99
    assert await keys.find(text) is not None
    clock.at_ms += 1
    assert await keys.find(text) is None
    assert await keys.find(new_text) == new
    await keys.revoke(new.id)
    assert await keys.find(new_text) is None
    with pytest.raises(NoSuchKey):
        await keys.revoke("nobody")


async def test_the_secret_of_a_key_is_nowhere_on_disk(tmp_path: Path) -> None:
    database = await Database.open(records_url(tmp_path))
    _, text = await Keys(database).create("ci", [Grant(Role.READ)], None)
    secret = text.split("_", 2)[2].encode()
    assert secret not in (tmp_path / "delivery.db").read_bytes()
    assert (tmp_path / "delivery.db").stat().st_mode & 0o077 == 0
    await database.close()


@pytest.mark.parametrize(
    ("grant", "role", "thing", "given"),
    [
        ("write:web@local", Role.WRITE, ("web", "local"), True),
        ("write:web@local", Role.READ, ("web", "local"), True),
        ("write:web@local", Role.EXECUTE, ("web", "local"), False),
        ("write:web@local", Role.WRITE, ("web", "aws"), False),
        ("write:web*@local", Role.WRITE, ("web-api", "local"), True),
        ("read:*", Role.READ, ("*", "*"), True),
        ("read:web", Role.READ, ("*", "*"), False),
        ("read:*", Role.WRITE, ("web", "local"), False),
    ],
)
def test_a_grant_gives_what_it_says_and_nothing_else(
    grant: str, role: Role, thing: tuple[str, str], given: bool
) -> None:
    assert Grant.read(grant).gives(role, *thing) is given


@pytest.mark.parametrize("text", ["", "web", "admin:web", "write:", "write:we b", "write:web@"])
def test_what_is_no_grant_is_refused_with_how_to_write_one(text: str) -> None:
    with pytest.raises(BadGrant, match="write ROLE:APPLICATION"):
        Grant.read(text)


def test_the_migrations_lead_to_the_tables_that_the_code_names(tmp_path: Path) -> None:
    file = tmp_path / "delivery.db"

    async def make() -> None:
        await (await Database.open(records_url(tmp_path))).close()

    asyncio.run(make())
    assert ScriptDirectory(str(Path(database_module.__file__).parent / "migrations")).get_current_head() == HEAD
    with create_engine(f"sqlite:///{file}").connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


async def test_records_of_a_newer_version_are_refused_and_left_alone(tmp_path: Path) -> None:
    database = await Database.open(records_url(tmp_path))
    async with database.transaction() as connection:
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    await database.close()
    with pytest.raises(RecordsNewer, match="newer version"):
        await Database.open(records_url(tmp_path))


async def test_records_that_cannot_be_opened_are_told_in_the_databases_words(tmp_path: Path) -> None:
    (tmp_path / "delivery.db").write_bytes(b"this is no database, but long enough to be looked at" * 100)
    with pytest.raises(RecordsUnavailable, match="not a database"):
        await Database.open(records_url(tmp_path))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql+asyncmy://somewhere/records", "pip install asyncmy"),
        ("nonsense", "cannot be opened"),
        ("sqlite+aiosqlite:////nowhere/at/all/delivery.db", "cannot be opened: No such file"),
    ],
)
async def test_a_url_that_leads_nowhere_is_told_with_what_is_missing(url: str, told: str) -> None:
    with pytest.raises(RecordsUnavailable, match=told):
        await Database.open(url)
