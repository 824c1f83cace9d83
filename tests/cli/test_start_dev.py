"""`server start-dev`: an SDK starts it in the place of Temporal's own dev server."""

import fcntl
import os
import sys
from pathlib import Path

import pytest
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.common import SearchAttributeKey
from temporalio.testing import WorkflowEnvironment

from stormsail.cli.main import run
from stormsail.cli.start_dev import clear_left_over
from stormsail.engine.api.dynamic_config import LIMITS, apply_settings
from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.limits import DEFAULT_LIMITS


@pytest.mark.e2e
async def test_an_sdk_starts_it_with_its_search_attributes_and_settings(tmp_path: Path) -> None:
    executable = tmp_path / "stormsail"
    executable.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m stormsail.cli "$@"\n')
    executable.chmod(0o755)
    environment = await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(executable),
        dev_server_extra_args=["--dynamic-config-value", "limit.historyCount.suggestContinueAsNew=50"],
        dev_server_database_filename=str(tmp_path / "kept"),
        search_attributes=[SearchAttributeKey.for_keyword_list("Tags")],
        namespace="mine",
    )
    async with environment:
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
    asked = {"LIMIT.historycount.suggestContinueAsNew": 50, "system.enableEagerWorkflowStart": True}
    limits, without_effect = apply_settings(DEFAULT_LIMITS, asked)
    assert limits.history_events_suggest_continue_as_new == 50
    assert without_effect == ["system.enableEagerWorkflowStart"]
    with pytest.raises(InvalidArgument):
        apply_settings(DEFAULT_LIMITS, {"limit.maxIDLength": "1"})


def test_each_setting_names_a_limit() -> None:
    assert all(isinstance(getattr(DEFAULT_LIMITS, limit), int) for limit in LIMITS.values())
