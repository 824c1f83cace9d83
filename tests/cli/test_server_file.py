"""`server status|backup|fsck` on the file of an engine that runs."""

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from cli.conftest import Place

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("file"))
    server = place.start("server", "start", "--port", "0")
    try:
        place.until_ready(server, "engine.json")
        for number in range(3):
            started = place.run("workflow", "start", "--type", "T", "-t", "q", "-w", f"w{number}")
            assert started.code == 0, started.err
        yield place
    finally:
        server.terminate()
        server.communicate(timeout=60)


def test_a_running_engines_file_is_shown_copied_and_checked(engine: Place, tmp_path: Path) -> None:
    shown = engine.run("server", "status", "-o", "json").json
    assert shown["address"] == engine.note("engine.json")["address"]
    assert shown["file_bytes"] > 0
    made = engine.run("server", "backup", str(tmp_path / "copy.db"), "-o", "json")
    assert (made.code, made.json["runs"]) == (0, 3), made.err
    found = engine.run("server", "fsck", "-o", "json")
    assert (found.code, found.json["runs"], found.json["problems"]) == (0, 3, [])
    again = engine.run("server", "backup", str(tmp_path / "copy.db"))
    assert (again.code, "is there already" in again.err) == (1, True)


def test_a_backup_starts_as_an_engine_with_all_that_was_there(engine: Place, tmp_path: Path) -> None:
    restored = Place(tmp_path)
    assert engine.run("server", "backup", str(tmp_path / "engine.db")).code == 0
    server = restored.start("server", "start", "--port", "0")
    try:
        restored.until_ready(server, "engine.json")
        listed = restored.run("workflow", "list", "-o", "name")
        assert sorted(listed.out.split()) == ["w0", "w1", "w2"]
    finally:
        server.terminate()
        server.communicate(timeout=60)


def test_a_damaged_file_is_told_with_the_runs_and_exit_code_1(engine: Place, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    assert engine.run("server", "backup", str(copy), "--no-check").code == 0
    connection = apsw.Connection(str(copy))
    connection.execute("UPDATE history SET crc = crc + 1 WHERE id = (SELECT min(id) FROM history)")
    connection.close()
    found = engine.run("server", "fsck", str(copy))
    assert found.code == 1
    assert "run default/w0/" in found.err
    assert "1 problems found" in found.out


def test_what_is_no_file_of_ours_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path / "nothing")
    for arguments in (["server", "fsck"], ["server", "backup", str(tmp_path / "copy.db")], ["server", "status"]):
        refused = place.run(*arguments)
        assert refused.code in (1, 5)
        assert "next:" in refused.err
    assert not (tmp_path / "nothing").exists()
