"""The steps of a canary as they are written on the command line."""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from stormsail.cli.options import Duration

KINDS: Final = ("weight", "pause", "approval", "web", "command", "analysis")
_WEB: Final = re.compile(r"(?P<url>\S+?)(?:@(?P<path>[^@\s<>=!]*))?(?P<condition>\s*(?:>=|<=|==|!=|>|<)\s*[^<>=!]+)")


class CanaryStepParam(click.ParamType[dict[str, Any]]):
    """One step, as `weight=10` or `pause=5m`; it becomes the step as createServerGroup takes it."""

    name = "step"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """Return the step."""
        if isinstance(value, dict):
            return value
        kind, given, said = str(value).partition("=")
        kind, said = kind.strip(), said.strip()
        match kind:
            case "weight":
                if not said.removesuffix("%").isdecimal():
                    self.fail(f"{value!r}: a weight is a percentage from 1 to 100, as weight=10", param, ctx)
                return {"setWeight": int(said.removesuffix("%"))}
            case "pause":
                return {"pause": {"duration": Duration().convert(said, param, ctx)} if given else {}}
            case "approval":
                return {"approval": {"message": said} if said else {}}
            case "web":
                return {"analysis": self._web(said, param, ctx)}
            case "command":
                return {"analysis": {"command": {"command": self._words(said, param, ctx)}}}
            case "analysis":
                return {"analysis": self._analysis(said, param, ctx)}
        return self.fail(f"{value!r} is no step; there are {', '.join(KINDS)}, as in weight=10 or pause=5m", param, ctx)

    def _web(self, said: str, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        match = _WEB.fullmatch(said)
        if match is None:
            self.fail(f"{said!r}: write URL@PATH and a condition, as web=http://host/stats@data.rate>=0.99", param, ctx)
        web = {"url": match["url"], "jsonPath": match["path"] or ""}
        return {"web": web, "successCondition": match["condition"].strip()}

    def _words(self, said: str, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        try:
            return shlex.split(said)
        except ValueError as wrong:
            return self.fail(f"{said!r}: {wrong}; check the quotes", param, ctx)

    def _analysis(self, said: str, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        try:
            found = json.loads(Path(said[1:]).read_text() if said.startswith("@") else said)
        except OSError as failure:
            self.fail(f"{said[1:]}: {failure.strerror}", param, ctx)
        except ValueError as wrong:
            self.fail(f"{said!r} is not JSON ({wrong}): write analysis=@file.json", param, ctx)
        if not isinstance(found, dict):
            self.fail(f"{said!r}: an analysis is an object, as docs/canary.md shows", param, ctx)
        return found


def check_steps(steps: Sequence[dict[str, Any]]) -> None:
    """Refuse steps that no worker would take, naming the step and the rule. Raises UsageError."""
    from pydantic import ValidationError

    from stormsail.delivery.model.canary import CanarySettings

    if not steps:
        raise click.UsageError("say what the canary goes through: --step weight=10 --step pause=5m --step weight=50")
    try:
        CanarySettings.model_validate({"steps": [*steps]})
    except ValidationError as wrong:
        first = wrong.errors(include_url=False, include_input=False)[0]
        place = [str(part) for part in first["loc"]]
        where = f"step {int(place[1]) + 1}{': ' + '.'.join(place[2:]) if place[2:] else ''}: " if place[1:] else ""
        raise click.UsageError(f"--step: {where}{first['msg'].removeprefix('Value error, ')}") from None
