"""The part of `operation start` that talks to the engine."""

from typing import Any

from stormsail.cli.changes import Plan, carry_out, output_lines, request_for
from stormsail.cli.connection import connected, run
from stormsail.cli.options import ChangeOptions, Place
from stormsail.delivery.model.operation import OperationResult, cluster_of


def run_start(
    operation_type: str, application: str, payload: dict[str, Any], place: Place, change: ChangeOptions, output: str
) -> int:
    """Start it and wait as asked."""
    request = request_for(operation_type, application, payload, change, place.account)
    plan = Plan([f"{operation_type} on cluster {cluster_of(request)}"], ask=True)

    async def main() -> int:
        async with connected(place) as client:
            return await carry_out(client, place, request, plan, change, output, _done)

    return run(main)


def _done(result: OperationResult) -> str:
    return "\n".join(["done", *output_lines(result)])
