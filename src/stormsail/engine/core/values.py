"""Values made by the dozen in every turn: frozen dataclasses whose making costs as little as Python allows.

A frozen dataclass sets each field by a call, to get past its own guard, and `dataclasses.replace` looks up every field
by name; both together were a twelfth of what a turn costs. `quick` writes these functions anew, without the guard: that
nobody changes such a value is for the type checker to see, to which it is the frozen dataclass that it was.
"""

from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from dataclasses import replace as replace
else:

    def replace(one: T, /, **changes: object) -> T:
        """Return a copy of a quick value with some fields changed. Raises AttributeError for one that it has not."""
        new = _COPYING[one.__class__](one)
        for name, value in changes.items():
            setattr(new, name, value)
        return new


def members(repeated: Sequence[T]) -> Sequence[T]:
    """Return what a protocol message's repeated field has now. Going through the field itself ends with an exception
    each time, which takes longer than all else where it has one member or none."""
    return repeated[:]


_COPYING: Final[dict[type, Callable[[Any], Any]]] = {}


def quick(made: type[T]) -> type[T]:
    """Put above `@dataclass(frozen=True, slots=True)`: makes its values quick to make and to copy."""
    known: dict[str, Any] = {"create": object.__new__, "made": made, "missing": MISSING}
    parameters, settings, copying = [], [], []
    for one in fields(made):  # type: ignore[arg-type]
        value = one.name
        if not one.init:
            # What a value finds out of itself: unknown again in each new one, in copies too.
            known[f"default_{one.name}"] = one.default
            settings.append(f" self.{one.name} = default_{one.name}")
            copying.append(f" new.{one.name} = default_{one.name}")
            continue
        copying.append(f" new.{one.name} = self.{one.name}")
        if one.default_factory is not MISSING:
            known[f"factory_{one.name}"] = one.default_factory
            parameters.append(f"{one.name}=missing")
            value = f"factory_{one.name}() if {one.name} is missing else {one.name}"
        elif one.default is not MISSING:
            known[f"default_{one.name}"] = one.default
            parameters.append(f"{one.name}=default_{one.name}")
        else:
            parameters.append(one.name)
        settings.append(f" self.{one.name} = {value}")
    text = "\n".join(
        [
            f"def __init__({', '.join(['self', *parameters])}):",
            *(settings or [" pass"]),
            "def copy(self):",
            " new = create(made)",
            *copying,
            " return new",
        ]
    )
    exec(text, known)  # noqa: S102 - of the fields' names, and no input
    known["__init__"].__qualname__ = f"{made.__qualname__}.__init__"
    made.__init__ = known["__init__"]  # type: ignore[method-assign]
    del made.__setattr__, made.__delattr__
    _COPYING[made] = known["copy"]
    return made


class Word(StrEnum):
    """An enumeration of words that are keys of tables: hashed as the strings that they are, without a call."""

    __hash__ = str.__hash__
