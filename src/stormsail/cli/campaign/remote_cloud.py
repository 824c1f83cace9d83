"""The model cloud over a socket: it stays while the workers that call it are killed.

One line of JSON asks and one answers, a connection a call. A caller that dies does not undo what it asked for.
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from stormsail.delivery.model.network import Network
from stormsail.delivery.model.server_group import Observation
from stormsail.delivery.providers import errors
from stormsail.delivery.providers.provider import Change, Progress, Provider

LINE_MAX: Final = 1_000_000
ERRORS: Final[Mapping[str, type[errors.ProviderError]]] = {
    each.kind: each
    for each in (
        errors.Transient,
        errors.UnknownOutcome,
        errors.Permanent,
        errors.NotFound,
        errors.Conflict,
        errors.InvalidLaunch,
    )
}
_CHANGE: Final[TypeAdapter[Change]] = TypeAdapter(Change)


async def serve_clouds(socket: Path, providers: Mapping[str, Provider]) -> asyncio.Server:
    """Serve accounts at a socket until the server is closed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = json.loads(await reader.readline())
            writer.write(json.dumps(await _answer(providers[asked["account"]], asked)).encode() + b"\n")
            await writer.drain()
        except ConnectionError:
            return  # the caller was killed
        finally:
            writer.close()

    return await asyncio.start_unix_server(serve, socket, limit=LINE_MAX)


async def _answer(provider: Provider, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        match asked["verb"]:
            case "observe":
                answer: Any = await provider.observe(asked["application"])
            case "network":
                answer = await provider.network(asked["application"])
            case "applications":
                return {"answer": list(await provider.applications())}
            case verb:
                change = _CHANGE.validate_python(asked["change"])
                answer = await getattr(provider, verb)(asked["token"], change)
    except errors.ProviderError as error:
        return {"error": error.kind, "message": str(error)}
    return {"answer": answer.model_dump(mode="json")}


class RemoteCloud:
    """The provider of one account behind the socket."""

    name = "model"

    def __init__(self, socket: Path, account: str) -> None:
        self.account = account
        self._socket = socket

    async def begin(self, token: str, change: Change) -> Progress:
        """See Provider."""
        return await self._change("begin", token, change)

    async def resume(self, token: str, change: Change) -> Progress:
        """See Provider."""
        return await self._change("resume", token, change)

    async def cancel(self, token: str, change: Change) -> Progress:
        """See Provider."""
        return await self._change("cancel", token, change)

    async def observe(self, application: str) -> Observation:
        """See Provider."""
        return Observation.model_validate(await self._ask(verb="observe", application=application))

    async def network(self, application: str) -> Network:
        """See Provider."""
        return Network.model_validate(await self._ask(verb="network", application=application))

    async def applications(self) -> tuple[str, ...]:
        """See Provider."""
        return tuple(await self._ask(verb="applications"))

    async def reconcile(self) -> None:
        """Nothing runs beside this cloud."""

    async def close(self) -> None:
        """Nothing is held."""

    async def _change(self, verb: str, token: str, change: Change) -> Progress:
        said = await self._ask(verb=verb, token=token, change=change.model_dump(mode="json"))
        return Progress.model_validate(said)

    async def _ask(self, **asked: Any) -> Any:
        try:
            reader, writer = await asyncio.open_unix_connection(self._socket, limit=LINE_MAX)
        except OSError as error:
            raise errors.Transient(f"the model cloud is not there: {error}") from error
        try:
            writer.write(json.dumps({"account": self.account, **asked}).encode() + b"\n")
            await writer.drain()
            line = await reader.readline()
        except ConnectionError as error:
            raise errors.UnknownOutcome(f"the model cloud hung up: {error}") from error
        finally:
            writer.close()
        if not line:
            raise errors.UnknownOutcome("the model cloud hung up")
        said = json.loads(line)
        if "error" in said:
            raise ERRORS[said["error"]](said["message"])
        return said["answer"]
