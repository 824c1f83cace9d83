"""Quick values: made and copied without the guard, and otherwise the dataclasses that they are."""

import dataclasses
from dataclasses import dataclass, field

import pytest

from stormsail.engine.core.values import Word, quick, replace


@quick
@dataclass(frozen=True, slots=True)
class Parcel:
    """One of each kind of field."""

    name: str
    weight: int = 3
    notes: dict[str, str] = field(default_factory=dict)
    known: int = field(default=-1, init=False, repr=False, compare=False)


def test_a_quick_value_takes_what_is_given_and_its_defaults_otherwise() -> None:
    assert Parcel("a") == Parcel("a", 3, {}) == Parcel(name="a", weight=3)
    assert Parcel("a").notes is not Parcel("a").notes
    assert hash(Parcel("a", 3, ())) == hash(Parcel("a", 3, ()))  # type: ignore[arg-type]
    assert repr(Parcel("a", 4)) == "Parcel(name='a', weight=4, notes={})"
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'name'"):
        Parcel()  # type: ignore[call-arg]


def test_a_copy_differs_in_what_was_changed_and_leaves_the_first_as_it_was() -> None:
    first = Parcel("a", 4, {"b": "c"})
    assert replace(first, weight=5) == Parcel("a", 5, {"b": "c"}) == dataclasses.replace(first, weight=5)
    assert first == Parcel("a", 4, {"b": "c"})
    with pytest.raises(AttributeError):
        replace(first, colour="red")  # type: ignore[call-arg]


def test_a_word_is_found_in_a_table_by_the_string_that_it_is() -> None:
    class Colour(Word):
        RED = "red"

    assert {Colour.RED: 1}["red"] == 1
    assert hash(Colour.RED) == hash("red")


def test_what_a_value_found_out_of_itself_is_unknown_in_its_copies() -> None:
    first = Parcel("a")
    object.__setattr__(first, "known", 7)
    assert (first.known, replace(first, weight=4).known, Parcel("a").known) == (7, -1, -1)
