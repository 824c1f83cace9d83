"""Where traffic guards are written down: a JSON file beside the worker, read anew for each change that takes traffic.

A file that is not there means that only the guard that every cluster has is there. One that cannot be read lets no
change through that takes traffic: it is mended and the change goes on, within the time that it is tried again.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from stormsail.delivery.model.traffic_guard import TrafficGuards
from stormsail.delivery.providers.errors import Transient

FILE: Final = "traffic-guards.json"
"""Its name in the data directory."""

NO_RULES: Final = TrafficGuards()

ReadGuards = Callable[[], TrafficGuards]


def guards_in(path: Path) -> ReadGuards:
    """Return the reader of a file. It raises Transient, naming the file and the field, while the file is damaged."""

    def read() -> TrafficGuards:
        try:
            return TrafficGuards.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return NO_RULES
        except OSError as failure:
            raise Transient(f"traffic guards {path} cannot be read: {failure.strerror}") from failure
        except ValidationError as wrong:
            first = wrong.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise Transient(f"traffic guards {path}: {field + ': ' if field else ''}{first['msg']}; mend it") from None

    return read


def no_rules() -> TrafficGuards:
    """Read the guards of an installation without a file."""
    return NO_RULES
