"""Instants, lengths of time and values as text in a page."""

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

_SECOND = 1_000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE


def instant(at_ms: int) -> str:
    """Write an instant in UTC, as machines and people without scripts read it."""
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def length_of_time(ms: int) -> str:
    """Write a length of time as the page's scripts do: `3.2 s`, `4 min 10 s`, `2 d 3 h`."""
    ms = max(ms, 0)
    if ms < _SECOND:
        return f"{ms} ms"
    if ms < _MINUTE:
        text = f"{ms / 1000:.1f}" if ms < 10 * _SECOND else f"{ms // 1000}"
        return f"{text.removesuffix('.0')} s"
    if ms < _HOUR:
        return _two(ms // _MINUTE, "min", ms % _MINUTE // 1000, "s")
    if ms < 48 * _HOUR:
        return _two(ms // _HOUR, "h", ms % _HOUR // _MINUTE, "min")
    return _two(ms // (24 * _HOUR), "d", ms % (24 * _HOUR) // _HOUR, "h")


def pretty(value: Any) -> str:
    """Write a value as indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def spaced(name: str) -> str:
    """Write a camel-cased name as words: `createServerGroup` as `Create server group`."""
    words = "".join(f" {char.lower()}" if char.isupper() else char for char in name).strip()
    return words[:1].upper() + words[1:]


def step_of(call: str) -> str:
    """Return the words for a call's step: `004-enableServerGroup#2` as `Enable server group`."""
    number, dash, name = call.partition("#")[0].partition("-")
    return spaced(name if dash and number.isdigit() else call)


def segment(text: str) -> str:
    """Return a text as one segment of an address: ids may hold slashes."""
    return quote(text, safe="")


def timeline_address(workflow_id: str, run_id: str) -> str:
    """Return where a run's timeline is read."""
    return f"/workflows/{segment(workflow_id)}/{segment(run_id)}/timeline.json"


def percent_bar(percent: int) -> Markup:
    """Draw a share as SVG: the page allows no inline style that could set a width."""
    width = min(max(percent, 0), 100)
    return Markup(  # noqa: S704 - a number between 0 and 100
        f'<svg class="share" aria-hidden="true"><rect width="{width}%" height="100%"/></svg>'
    )


def _two(count: int, unit: str, rest: int, rest_unit: str) -> str:
    return f"{count} {unit} {rest} {rest_unit}" if rest else f"{count} {unit}"
