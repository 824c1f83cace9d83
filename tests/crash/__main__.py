"""`make crash`: kill -9 of server and workers, `python -m crash --kills 30 --seed 7`.

The last line is the reckoning as JSON; the exit code is 1 when anything acknowledged was lost, doubled or wrong.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from crash.run import reckon

parser = argparse.ArgumentParser(prog="crash", description=__doc__)
parser.add_argument("--kills", type=int, default=30, help="how often something is killed")
parser.add_argument("--seed", type=int, default=None, help="same seed, same moments and victims (not thread timing)")
given = parser.parse_args()
seed = given.seed if given.seed is not None else time.time_ns() % 1_000_000
# The SDK would log each call that it tries again, and there are many.
quiet = LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR"))
Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=quiet)))
directory = Path(tempfile.mkdtemp(prefix="stormsail-crash-"))
print(f"seed {seed}, in {directory}", file=sys.stderr)
began = time.monotonic()
found = asyncio.run(reckon(directory, given.kills, seed, lambda text: print(text, file=sys.stderr)))
for wrong in found.wrong[:50]:
    print(f"WRONG {wrong}", file=sys.stderr)
print(
    json.dumps(
        {
            "kills": dict(found.kills),
            "calls": dict(found.calls),
            "workflows": found.workflows,
            "acknowledged": found.entries + found.calls["start"],
            "events": found.events,
            "wrong": len(found.wrong),
            "seconds": round(time.monotonic() - began, 1),
            "seed": seed,
        }
    )
)
if found.wrong:
    print(f"kept {directory}; again: make crash KILLS={given.kills} SEED={seed}", file=sys.stderr)
    sys.exit(1)
shutil.rmtree(directory)
