"""W1 to W3 on DBOS with SQLite: engine, worker and callers are one process there.

`python -m bench.dbos_side DIRECTORY SECONDS` prints lines as bench.workload does.
"""

import json
import sys
from pathlib import Path

from dbos import DBOS, SetWorkflowID  # type: ignore[import-not-found, unused-ignore]

from bench.processes import on_uvloop
from bench.workload import IN_A_ROW, cpu_s, in_flight, in_sequence


@DBOS.step()  # type: ignore[untyped-decorator, unused-ignore]
async def greet(name: str) -> str:
    """See bench.workload."""
    return f"hello {name}"


@DBOS.workflow()  # type: ignore[untyped-decorator, unused-ignore]
async def greet_workflow(times: int) -> str:
    """See bench.workload."""
    said = ""
    for _ in range(times):
        said = await greet("you")
    return said


async def run(seconds: float) -> None:
    """Run and print."""
    number = 0

    async def one(times: int = 1) -> None:
        nonlocal number
        number += 1
        with SetWorkflowID(f"bench-{number}"):
            handle = await DBOS.start_workflow_async(greet_workflow, times)
        await handle.get_result()

    def mark(name: str) -> None:
        print(json.dumps({"mark": name}), flush=True)

    for _ in range(5):
        await one()
    mark("w1")
    sequential = await in_sequence(one, seconds)
    mark("w2")
    used_s = cpu_s()
    concurrent = await in_flight(one, seconds)
    concurrent["client_cpu_s"] = cpu_s() - used_s
    mark("w3")
    rows = await in_sequence(lambda: one(IN_A_ROW), seconds)
    mark("end")
    print(json.dumps({"w1_ms": sequential, "w2": concurrent, "w3_ms": rows, "calls": 0}), flush=True)


def main() -> None:
    """Run as a process."""
    directory, seconds = Path(sys.argv[1]), float(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{directory}/dbos.sqlite", "log_level": "ERROR"})
    DBOS.launch()
    try:
        on_uvloop(run(seconds))
    finally:
        DBOS.destroy()


if __name__ == "__main__":
    main()
