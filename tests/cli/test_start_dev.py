"""`server start-dev`: an SDK starts it in the place of Temporal's own dev server."""

import fcntl
import os
import re
import sys
from pathlib import Path

import pytest
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.common import SearchAttributeKey
from temporalio.testing import WorkflowEnvironment

from stormsail.cli.main import run
from stormsail.cli.start_dev import clear_left_over
from stormsail.engine.api.dynamic_config import SETTINGS, apply_settings
from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.limits import DEFAULT_LIMITS

STARTS_MAX = 10


async def started_by_an_sdk(executable: Path, kept: Path) -> WorkflowEnvironment:
    """Start it as SDKs do. They wait for five seconds and no longer: on a starved machine it is started once more."""
    starts = 0
    while True:
        starts += 1
        try:
            return await WorkflowEnvironment.start_local(
                dev_server_existing_path=str(executable),
                dev_server_extra_args=["--dynamic-config-value", "limit.historyCount.suggestContinueAsNew=50"],
                dev_server_database_filename=str(kept),
                search_attributes=[SearchAttributeKey.for_keyword_list("Tags")],
                namespace="mine",
            )
        except RuntimeError as late:
            if "did not start within" not in str(late) or starts == STARTS_MAX:
                raise


@pytest.mark.e2e
@pytest.mark.slow
async def test_an_sdk_starts_it_with_its_search_attributes_and_settings(tmp_path: Path) -> None:
    executable = tmp_path / "stormsail"
    executable.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m stormsail.cli "$@"\n')
    executable.chmod(0o755)
    async with await started_by_an_sdk(executable, tmp_path / "kept") as environment:
        service = environment.client.operator_service
        for namespace in ("mine", "default"):
            listed = await service.list_search_attributes(ListSearchAttributesRequest(namespace=namespace))
            assert list(listed.custom_attributes) == ["Tags"]
    assert (tmp_path / "kept" / "engine.db").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--dynamic-config-value", "a"], "'a' is no KEY=JSON pair"),
        (["--dynamic-config-value", "a=b"], "'a=b' is no KEY=JSON pair"),
        (["--dynamic-config-value", "limit.blobSize.error=true"], "give a whole number"),
        (["--search-attribute", "A"], "'A' is no NAME=TYPE pair"),
        (["--search-attribute", "A=Nope"], "'A=Nope' is no NAME=TYPE pair"),
        (["--search-attribute", "WorkflowId=Int"], "the name is the server's own"),
        (["--ip", "0.0.0.0"], "can be reached from other machines"),
    ],
)
def test_a_flag_that_makes_no_sense_is_refused(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["server", "start-dev", "--port", "0", *flags]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "next:" in told


def test_a_file_of_temporals_is_not_taken_for_a_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "temporal.db").write_bytes(b"SQLite format 3")
    assert run(["server", "start-dev", "--db-filename", str(tmp_path / "temporal.db")]) == 2
    assert "is a file: the state is kept in a directory" in capsys.readouterr().err


def test_what_killed_servers_left_is_cleared_and_what_runs_is_not(tmp_path: Path) -> None:
    for name in ("dead", "running", "new"):
        (tmp_path / f"stormsail-dev-{name}" / "data").mkdir(parents=True)
        (tmp_path / f"stormsail-dev-{name}" / "data" / "engine.lock").touch()
        if name != "new":
            os.utime(tmp_path / f"stormsail-dev-{name}", (0, 0))
    with (tmp_path / "stormsail-dev-running" / "data" / "engine.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        clear_left_over(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stormsail-dev-new", "stormsail-dev-running"]


def test_settings_count_by_temporals_names_in_any_case_and_others_are_told() -> None:
    asked = {"LIMIT.historycount.suggestContinueAsNew": 50, "matching.rps": 3, "system.enableEagerWorkflowStart": False}
    limits, without_effect = apply_settings(DEFAULT_LIMITS, asked)
    assert limits.history_events_suggest_continue_as_new == 50
    assert without_effect == ["matching.rps", "system.enableEagerWorkflowStart"]


def test_of_a_switch_that_is_set_as_it_stands_nobody_is_told() -> None:
    assert apply_settings(DEFAULT_LIMITS, {"system.enableEagerWorkflowStart": True}) == (DEFAULT_LIMITS, [])


@pytest.mark.parametrize(
    ("name", "value", "limit", "counts_as"),
    [
        ("history.maxInFlightUpdates", 0, "updates_in_flight_max", 1 << 62),
        ("history.maxTotalUpdates.suggestContinueAsNewThreshold", 1, "updates_suggest_continue_as_new", 1.0),
        ("matching.longPollExpirationInterval", "1m30s", "long_poll_ms", 90_000),
        ("matching.longPollExpirationInterval", 2, "long_poll_ms", 2_000),
        ("matching.longPollExpirationInterval", "0.5", "long_poll_ms", 500),
        ("matching.enableFairness", False, "fairness", False),
        ("matching.priorityLevels", 9, "priority_levels", 9),
    ],
)
def test_a_setting_is_read_as_its_kind(name: str, value: object, limit: str, counts_as: object) -> None:
    limits, without_effect = apply_settings(DEFAULT_LIMITS, {name: value})
    assert (getattr(limits, limit), without_effect) == (counts_as, [])


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("limit.maxIDLength", "1", "a whole number, 0 or more"),
        ("limit.maxIDLength", -1, "a whole number, 0 or more"),
        ("limit.maxIDLength", True, "a whole number, 0 or more"),
        ("frontend.visibilityMaxPageSize", 0, "a whole number, 1 or more"),
        ("matching.priorityLevels", 61, "a whole number from 1 to 60"),
        ("matching.enableFairness", 1, "true or false"),
        ("matching.longPollExpirationInterval", "soon", 'a length of time, as "10s"'),
        ("history.maxTotalUpdates.suggestContinueAsNewThreshold", float("nan"), "a number, 0 or more"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_the_settings_name_and_its_rule(
    name: str, value: object, rule: str
) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(name)) as refused:
        apply_settings(DEFAULT_LIMITS, {name: value})
    assert rule in refused.value.message


def test_each_setting_names_a_limit_and_takes_its_default() -> None:
    for name, setting in SETTINGS.items():
        default = getattr(DEFAULT_LIMITS, setting.limit)
        given = default / 1_000 if setting.limit.endswith("_ms") else default
        assert apply_settings(DEFAULT_LIMITS, {name: given}) == (DEFAULT_LIMITS, []), name
