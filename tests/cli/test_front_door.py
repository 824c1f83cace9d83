"""What everybody meets first: help, typos, aliases, exit codes, and that help stays fast."""

import errno
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from stormsail.cli.errors import CommandFailed
from stormsail.cli.lazy import LazyGroup
from stormsail.cli.main import cli, run
from stormsail.cli.notes import left_note

HEAVY = ("temporalio", "grpc", "stormsail.engine", "stormsail.delivery", "rich", "pydantic", "httpx")

NOT_FOR_THE_ENGINE = (
    *("temporalio.service", "temporalio.bridge", "temporalio.client", "grpc", "rich", "greenlet", "pydantic", "httpx"),
    *("fastapi", "sqlalchemy", "jinja2", "stormsail.delivery", "stormsail.web", "stormsail.engine.sim"),
)
"""What `server start` has no use for: loading it took longer than the engine itself."""


def all_commands(group: LazyGroup, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append((*path, name))
        if isinstance(command, LazyGroup):
            found += all_commands(command, (*path, name))
    return found


def imported_by(*arguments: str, of: tuple[str, ...] = HEAVY) -> set[str]:
    """Run a command line in a fresh interpreter and return which of these modules it imported."""
    program = (
        "import sys\n"
        "from stormsail.cli.main import run\n"
        f"run({list(arguments)!r})\n"
        f"print('IMPORTED', *[name for name in {of!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_help_imports_nothing_heavy() -> None:
    assert imported_by("--help") == set()


@pytest.mark.parametrize(
    "arguments",
    [("deploy", "--help"), ("server-group", "list", "--help"), ("demo", "--help"), ("up", "--help"), ("version",)],
    ids=" ".join,
)
def test_the_help_of_a_command_imports_nothing_heavy_either(arguments: tuple[str, ...]) -> None:
    assert imported_by(*arguments) == set()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["start", "start-dev"])
def test_the_engine_starts_without_the_sdk_and_what_else_it_has_no_use_for(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = {"start": "--data-dir", "start-dev": "--db-filename"}[command]
    engine = "stormsail.engine.shell.engine"
    # All is imported before the directory is made, which fails inside a file.
    arguments = ("server", command, "--port", "0", place, str(tmp_path / "file" / "state"))
    assert imported_by(*arguments, of=(engine, *NOT_FOR_THE_ENGINE)) == {engine}


@pytest.mark.parametrize("path", all_commands(cli), ids=" ".join)  # type: ignore[arg-type]
def test_the_help_of_every_command_teaches(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, [*path, "--help"], prog_name="stormsail")
    assert result.exit_code == 0
    teaching = result.output.split("Options:")[0]
    assert "Example" in teaching, f"{' '.join(path)} shows no example"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["deplyo"], "'deploy'"),
        (["server-gruop"], "'server-group'"),
        (["server-group", "lst"], "'list'"),
        (["ops", "cancle"], "'cancel'"),
        (["docter"], "'doctor'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_a_typo_is_answered_with_the_nearest_command(
    typed: list[str],
    meant: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(typed) == 2
    assert f"Did you mean {meant}" in capsys.readouterr().err


def test_a_word_like_no_command_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["xyzzy"]) == 2
    assert "Try one of: up, demo, deploy" in capsys.readouterr().err


@pytest.mark.parametrize("alias", ["server-group", "server-groups", "sg"])
def test_plurals_and_short_forms_name_the_same_command(alias: str) -> None:
    context = click.Context(cli)
    assert cli.get_command(context, alias) is cli.get_command(context, "server-group")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["deploy"], "Missing argument 'APP'"),
        (["deploy", "hello"], "say what to deploy"),
        (["deploy", "hello", "--command", 'python "x'], "check the quotes"),
        (["deploy", "hello", "--command", "x", "--env", "NOVALUE"], "'NOVALUE' is not K=V"),
        (["deploy", "hello", "--command", "x", "--min", "3", "--max", "2"], "min <= instances <= max"),
        (["deploy", "hello", "--command", "x", "--strategy", "redblak"], "did you mean redblack?"),
        (["deploy", "hello", "--command", "x", "--health-timeout", "soon"], "'soon' is not a duration"),
        (["status", "--engine", "localhost"], "'localhost' is not an address: write HOST:PORT"),
        (["status", "--engine", "localhost:99999"], "is not an address"),
        (["status", "-o", "xml"], "'xml' is not one of"),
        (["server-group", "resize", "hello-v000"], "say how many"),
        (["server-group", "resize", "hello-v000", "2", "--instances", "3"], "give one of them"),
        (["operation", "get"], "Missing argument 'OPERATION'"),
        (["server-group", "terminate", "hello-v000"], "Missing argument 'INSTANCE...'"),
        (["server-group", "terminate", "hello-v000", "a", "b", "--shrink"], "one instance at a time"),
        (["rollback", "hello", "--image", "x"], "goes with --previous-image"),
        (["operation", "start", "x", "hello", "--payload", "{"], "it is not JSON"),
        (["operation", "start", "x", "hello", "--payload", "[]"], "must be a JSON object"),
        (["operation", "skip", "0196f3a2"], "Missing option '--reason'"),
        (["operation", "rerun", "0196f3a2"], "say what to change"),
        (["operation", "rerun", "0196f3a2", "--set", "capacity"], "'capacity' is not FIELD=VALUE"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_exits_with_2_and_says_what_is_wrong(
    arguments: list[str],
    text: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(arguments) == 2
    said = capsys.readouterr().err
    assert text in said
    assert "Traceback" not in said


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Commands:" in capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_that_names_us(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert "_STORMSAIL_COMPLETE" in result.output


def test_an_unexpected_failure_is_one_text_and_no_stack_trace(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("STORMSAIL_DEBUG", raising=False)
    broken = LazyGroup("stormsail", lazy={})

    @broken.command("boom")
    def boom() -> None:
        raise ZeroDivisionError("by zero")

    assert run(["boom"], broken) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: unexpected ZeroDivisionError: by zero")
    assert "Traceback" not in said


def test_a_failure_of_the_system_is_said_in_its_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    full = LazyGroup("stormsail", lazy={})

    @full.command("write")
    def write() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/data/engine.db")

    assert run(["write"], full) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: No space left on device: /data/engine.db",
        "next:  `stormsail doctor` checks disk and directories",
    ]


def test_a_data_directory_that_cannot_be_written_to_is_named() -> None:
    with (
        pytest.raises(CommandFailed, match="cannot be written to: No such file or directory"),
        left_note(
            Path("/proc/no-such-directory/engine.json"),
            "127.0.0.1:1",
        ),
    ):
        raise AssertionError("the note cannot have been left")


def test_the_page_of_commands_names_each_noun() -> None:
    page = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
    assert [
        name for name in cli.list_commands(click.Context(cli)) if f"`{name}" not in page and f" {name}" not in page
    ] == []
