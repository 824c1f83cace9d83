"""Results for people and for programs."""

import json

import pytest

from stormsail.cli.output import Column, show_list, show_one, span, table, yaml_text

RECORDS = [{"name": "hello-v000", "up": 2}, {"name": "hello-v001", "up": 0}]
COLUMNS = (
    Column("server group", lambda r: r["name"]),
    Column("up", lambda r: str(r["up"])),
    Column("extra", lambda r: f"x{r['up']}", wide=True),
)


def printed(capsys: pytest.CaptureFixture[str], output: str, records: list[dict[str, object]] = RECORDS) -> str:  # type: ignore[assignment]
    show_list(records, COLUMNS, "name", output, empty="no server groups")
    return capsys.readouterr().out


def test_json_is_the_whole_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(printed(capsys, "json")) == RECORDS


def test_jsonl_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert [json.loads(line) for line in printed(capsys, "jsonl").splitlines()] == RECORDS


def test_name_prints_names_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "name") == "hello-v000\nhello-v001\n"


def test_a_table_is_aligned_and_wide_shows_more(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "table") == "SERVER GROUP  UP\nhello-v000    2\nhello-v001    0\n"
    assert printed(capsys, "wide").splitlines()[1] == "hello-v000    2   x2"


def test_nothing_is_an_empty_list_to_programs_and_words_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "json", []) == "[]\n"
    show_list([], COLUMNS, "name", "table", empty="no server groups")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "no server groups\n")


def test_one_record_prints_its_text_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    show_one({"id": "7"}, "it works", "id", "table")
    assert capsys.readouterr().out == "it works\n"


def test_yaml_of_nested_records() -> None:
    value = {
        "name": "hello",
        "yes": True,
        "empty": {},
        "groups": [{"name": "v0", "tags": ["a: b", "#c"]}, {"name": "v1", "tags": []}],
        "nothing": None,
        "rows": [[1, 2], [3]],
    }
    assert yaml_text(value) == "\n".join(
        [
            'name: "hello"',
            '"yes": true',
            "empty: {}",
            "groups:",
            '  - name: "v0"',
            "    tags:",
            '      - "a: b"',
            '      - "#c"',
            '  - name: "v1"',
            "    tags: []",
            "nothing: null",
            "rows:",
            "  - - 1",
            "    - 2",
            "  - - 3",
        ],
    )


@pytest.mark.parametrize(
    ("duration_ms", "words"),
    [(0, "0.0 s"), (420, "0.4 s"), (12_000, "12 s"), (185_000, "3 min 5 s"), (7_800_000, "2 h 10 min"), (-5, "0.0 s")],
)
def test_durations_are_said_as_people_say_them(duration_ms: float, words: str) -> None:
    assert span(duration_ms) == words


def test_titles_are_not_coloured_where_nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert table(["a"], [["b"]]) == "A\nb"
