"""JSON as turns write it: what the standard library's encoder writes, byte for byte."""

import json
from typing import Any

import pytest

from stormsail.engine.core import compact_json
from stormsail.engine.core.machines.run import Run

_VALUES = (
    0,
    -7,
    1 << 62,
    1.5,
    True,
    False,
    None,
    "",
    'a "quoted" name\\of a queue\n\x00',
    "Überraschung 🎉 \ud800",
    Run.RUNNING,
    [],
    ["a", 1, None],
    {},
    {5: {"ready": False, "nonce": "n"}, "b": [True, 2.5]},
)


@pytest.mark.parametrize("value", _VALUES, ids=[str(place) for place in range(len(_VALUES))])
def test_a_value_is_written_as_the_standard_library_writes_it(value: Any) -> None:
    expected = json.dumps(value, separators=(",", ":"))
    assert compact_json.text(value) == expected
    assert compact_json.pack(value) == expected.encode()


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        compact_json.text(object())
