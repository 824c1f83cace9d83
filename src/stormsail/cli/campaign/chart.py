"""The chart of a campaign: the rate of wrong ends of both arms with its bounds, by class of fault, on a log scale."""

import math
from html import escape
from typing import Any, Final

Json = dict[str, Any]

WIDTH: Final = 900
LEFT: Final = 190
RIGHT: Final = 40
TOP: Final = 74
ROW: Final = 46
COLOURS: Final = {"durable": "#0b7285", "legacy": "#c2255c"}
LOWEST: Final = 1e-7
"""The left end of the scale; a bound below it is drawn there."""


def chart_of(record: Json) -> str:
    """Return the chart as SVG."""
    arms: Json = record["arms"]
    names = ["all operations", *(row["name"] for row in next(iter(arms.values()))["met"]), "a kill"]
    height = TOP + ROW * len(names) + 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{escape(record['verdict'])}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        '<text x="16" y="26" font-size="17" font-weight="600" fill="#212529">Operations that ended wrong</text>',
        f'<text x="16" y="48" fill="#495057">{record["operations"]} an arm; dot: the rate, bar: 95 % bounds; '
        "an open bar: none was wrong, and the rate is below its end</text>",
        *_scale(height),
    ]
    for place, name in enumerate(names):
        middle = TOP + ROW * place + ROW / 2
        label = {"none": "met no fault", "a kill": "per kill"}.get(name, name)
        weight = ' font-weight="600"' if not place else ""
        parts.append(f'<text x="{LEFT - 14}" y="{middle + 4}" text-anchor="end"{weight}>{escape(label)}</text>')
        for offset, (arm, figures) in enumerate(arms.items()):
            parts += _bar(_row(figures, name), middle - 9 + 18 * offset, COLOURS[arm])
    parts += _legend(list(arms))
    return "\n".join([*parts, "</svg>", ""])


def _row(figures: Json, name: str) -> Json:
    if name == "all operations":
        return figures
    rows = figures["kills"] if name == "a kill" else figures["met"]
    return next((row for row in rows if row["name"] == name), rows[-1])


def _bar(row: Json, y: float, colour: str) -> list[str]:
    if not row["count"]:
        return []
    said = f"{row['wrong']} of {row['count']}"
    low, high = _x(row["at_least"]), _x(row["at_most"])
    none = row["wrong"] == 0
    fill = 'fill="none" stroke-dasharray="3 3"' if none else f'fill="{colour}" fill-opacity="0.25"'
    parts = [
        f'<rect x="{low:.1f}" y="{y - 5:.1f}" width="{max(high - low, 2):.1f}" height="10" rx="2" {fill} '
        f'stroke="{colour}"><title>{said}</title></rect>'
    ]
    if not none:
        parts.append(f'<circle cx="{_x(row["rate"]):.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
    room = high + 8 < WIDTH - RIGHT - 90
    x, anchor = (high + 8, "start") if room else (low - 8, "end")
    parts.append(
        f'<text x="{x:.1f}" y="{y + 4:.1f}" font-size="11" text-anchor="{anchor}" fill="{colour}">{said}</text>'
    )
    return parts


def _scale(height: int) -> list[str]:
    parts = []
    for power in range(round(math.log10(LOWEST)), 1):
        x = _x(10.0**power)
        label = {0: "100 %", -1: "10 %", -2: "1 %"}.get(power, f"1e{power}")
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{height - 44}" stroke="#dee2e6"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 24}" text-anchor="middle" fill="#495057">{label}</text>')
    return parts


def _legend(arms: list[str]) -> list[str]:
    parts = []
    for place, arm in enumerate(arms):
        x = WIDTH - 210 + 100 * place
        parts.append(f'<rect x="{x}" y="14" width="14" height="14" rx="2" fill="{COLOURS[arm]}"/>')
        parts.append(f'<text x="{x + 20}" y="26">{arm}</text>')
    return parts


def _x(share: float) -> float:
    power = math.log10(max(share, LOWEST) / LOWEST) / -math.log10(LOWEST)
    return LEFT + power * (WIDTH - LEFT - RIGHT)
