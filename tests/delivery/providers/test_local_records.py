"""What the local provider decides from its records alone, without any process."""

from pathlib import Path

import pytest

from stormsail.delivery.model.server_group import Capacity, LaunchSpec
from stormsail.delivery.providers.errors import InvalidLaunch, Transient
from stormsail.delivery.providers.local import files
from stormsail.delivery.providers.local.converge import restart_due_ms
from stormsail.delivery.providers.local.haproxy import Backend, render, render_map
from stormsail.delivery.providers.local.process import Ending, Found, Run
from stormsail.delivery.providers.local.runtime import read_table, server_name
from stormsail.delivery.providers.local.specification import launch_settings, server_group_moniker
from stormsail.delivery.providers.local.state import GroupRecord


def group(desired: int, **fields: object) -> GroupRecord:
    record = GroupRecord(
        name="shop-v000",
        token="t",
        capacity=Capacity.fixed(desired),
        launch=LaunchSpec(command=("run",)),
        directory="/",
        created_at_ms=1,
        enabled=True,
    )
    return record.model_copy(update=fields).sized()


def resized(record: GroupRecord, desired: int) -> GroupRecord:
    return record.applying("r", "resizeServerGroup", capacity=Capacity.fixed(desired))


def test_the_newest_instances_leave_first() -> None:
    smaller = resized(group(4), 2)
    assert [(one.index, one.leaving) for one in smaller.instances] == [(0, False), (1, False), (2, True), (3, True)]


def test_an_index_is_never_given_twice() -> None:
    again = resized(resized(group(2), 1), 3)
    assert [(one.index, one.leaving) for one in again.instances] == [(0, False), (1, True), (2, False), (3, False)]


@pytest.mark.parametrize(
    ("desired", "percent", "serving"), [(4, 100, 4), (4, 50, 2), (3, 50, 2), (3, 1, 1), (1, 50, 1), (0, 100, 0)]
)
def test_a_share_is_rounded_in_favour_of_serving(desired: int, percent: int, serving: int) -> None:
    assert group(desired, percent=percent).with_traffic() == tuple(range(serving))


def test_a_disabled_or_destroyed_group_serves_nothing() -> None:
    assert group(3, enabled=False).with_traffic() == ()
    assert group(3).model_copy(update={"destroying": True}).with_traffic() == ()


def test_a_change_is_overruled_by_a_later_one_of_its_kind_only() -> None:
    record = group(1).applying("a", "enableServerGroup", enabled=True)
    assert not record.applying("b", "resizeServerGroup").superseded("a")
    assert record.applying("b", "disableServerGroup").superseded("a")
    assert not record.superseded("never seen")


def test_only_the_newest_changes_are_remembered() -> None:
    record = group(1)
    for number in range(250):
        record = record.applying(str(number), "enableServerGroup")
    assert len(record.changes) == 200
    assert record.applied("249") is not None
    assert record.applied("49") is None


@pytest.mark.parametrize(("starts", "wait_ms"), [(1, 1_000), (2, 2_000), (5, 16_000), (30, 60_000)])
def test_what_never_was_healthy_waits_longer_each_time(starts: int, wait_ms: int) -> None:
    run = Run(pid=1, start_ticks=1, boot_id="b", port=1, started_at_ms=1, starts=starts)
    ending = Ending(start_ticks=1, code=1, at_ms=10_000)
    assert restart_due_ms(Found(run, alive=False, ending=ending)) == 10_000 + wait_ms
    assert restart_due_ms(Found(run, alive=False, ending=ending, was_healthy=True)) == 10_000
    assert restart_due_ms(Found(None, alive=False)) == 0


def test_the_configuration_holds_the_servers_that_have_traffic() -> None:
    backends = [Backend("shop-v000:0", 20_001, "/ready"), Backend("shop-v000:1", 20_002, "/ready")]
    text = render(8080, backends)
    assert "bind 127.0.0.1:8080" in text
    assert [line.split()[1:3] for line in text.splitlines() if line.startswith("  server ")] == [
        ["shop-v000:0", "127.0.0.1:20001"],
        ["shop-v000:1", "127.0.0.1:20002"],
    ]
    assert render_map(backends) == "shop-v000:0 /ready\nshop-v000:1 /ready\n"


def test_names_that_differ_stay_different_for_the_load_balancer() -> None:
    names = {server_name(name, 1) for name in ("a-b-c~d-v000", "a-b-c^d-v000", "a-b-ctd-v000", "a-b-c.d-v000")}
    assert len(names) == 4
    assert all(set(name) <= set("abcdtv.:-01") for name in names)


def test_an_answer_that_is_no_table_is_an_error_and_not_an_empty_one() -> None:
    assert read_table("1\n# name value\na 1\nb 2") == [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]
    with pytest.raises(Transient, match="Unknown command"):
        read_table("Unknown command: 'show'")


def test_settings_are_read_with_their_defaults_and_limits() -> None:
    assert launch_settings(LaunchSpec()).stop_seconds == 10
    with pytest.raises(InvalidLaunch, match=r"'drain_seconds': .*less than or equal to 3600"):
        launch_settings(LaunchSpec(settings={"drain_seconds": 4000}))
    with pytest.raises(InvalidLaunch, match="'port'"):
        launch_settings(LaunchSpec(settings={"port": 0}))
    assert server_group_moniker("shop-api-v012").cluster == "shop-api"


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "record"
    files.write_file(path, "old")
    with pytest.raises(UnicodeEncodeError):
        files.write_file(path, "new \ud800")
    assert path.read_text() == "old"
    assert files.names(tmp_path) == ["record"]
