"""docs/protocol.md says what the server does."""

from pathlib import Path

from stormsail.engine.api.methods import METHODS
from stormsail.engine.api.protocol_page import page, with_page

PAGE = Path(__file__).parents[3] / "docs" / "protocol.md"


def test_the_page_is_fresh() -> None:
    text = PAGE.read_text()
    assert text == with_page(text), "run: python -m stormsail.engine.api.protocol_page docs/protocol.md"


def test_the_page_has_every_method_once() -> None:
    lines = page().splitlines()
    for method in METHODS.values():
        assert sum(line.startswith(f"| {method.name} |") for line in lines) == 1


def test_every_served_method_says_what_it_does() -> None:
    for method in METHODS.values():
        if method.handler is not None:
            assert (method.handler.__doc__ or "").endswith("."), method.name
