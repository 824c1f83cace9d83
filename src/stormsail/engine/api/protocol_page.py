"""Writes docs/protocol.md: every method of the services that we speak, and whether it is served.

`python -m stormsail.engine.api.protocol_page docs/protocol.md` writes it; a test fails when the file is stale. What
tests against Temporal's server found stands behind a mark and is written by them.
"""

import sys
from pathlib import Path
from typing import Final

from stormsail.engine.api.dynamic_config import SETTINGS, Setting
from stormsail.engine.api.methods import METHODS, SERVICES
from stormsail.engine.core.limits import DEFAULT_LIMITS

MARK: Final = "\n<!-- What follows is written by `make parity ARGS=--page`. -->\n"
_HEAD: Final = """\
# What the engine speaks

The engine answers gRPC calls of Temporal's API on the port that `stormsail server start` names (7233 unless told
otherwise). Official Temporal SDKs connect to it unchanged. This page is written by
`python -m stormsail.engine.api.protocol_page docs/protocol.md` from the table that the server itself uses.

*Served* means the whole method: its fields, errors and edge cases. Some fields are refused with `UNIMPLEMENTED` and
named: `time_skipping_config` of a start, `completion_callbacks` of an update and `bad_binaries` of UpdateNamespace.
Workflows start, signal and cancel others in their own namespace, and nobody can be called back when one completes, as
Temporal's server has both unless told otherwise. A method that is *not served* answers `UNIMPLEMENTED` and names
itself; nothing is half done.

Beside these, `grpc.health.v1.Health` and `grpc.reflection.v1alpha.ServerReflection` are served, so `grpcurl` and health
probes work. `temporal.api.testservice.v1.TestService` is not: real time is not skipped.

Requests may be compressed with gzip. A request over 4 MiB is refused with `RESOURCE_EXHAUSTED`. A refusal carries
Temporal's error detail in `grpc-status-details-bin`, where the SDKs look for it.

## Runs and lists differ from Temporal's in this

* Runs can be paused without `frontend.WorkflowPauseEnabled`. Of a paused run no attempt of an activity is handed out;
  Temporal's server hands out those that are retried meanwhile. A run may be paused before its first workflow task is
  scheduled; Temporal's answers `INTERNAL` then.
* A run cannot be pinned to a version of its workers, for worker deployments are not served: it is refused in
  Temporal's words for a version that the task queue does not have.
* A run that a reset makes hears again what others answered its base run, and asks again only for what was not answered;
  Temporal's server signals and cancels others a second time. Its reset points do not say when they expire, and runs
  have no search attribute `BuildIds`.
* A batch that unpauses activities of a type concerns the runs that its query finds; Temporal's server passes over the
  query then.
* The name of a deleted namespace can be registered again once nothing is left of it, which takes as long as deleting
  its runs; until then it is refused with `UNAVAILABLE`.
* Lists may be put in order with ORDER BY, which Temporal's SQL stores refuse. GROUP BY in a list is refused; they pass
  over it.

## Task queues and workers differ from Temporal's in this

* A task queue has one partition, so its order is exact. Fairness keys count unless `matching.enableFairness` is false;
  on Temporal's server they count only where it is true.
* An effective rate limit that nobody set is shown as 100,000 a second and is not enforced.
* UpdateTaskQueueConfig takes an unspecified type for a workflow queue, and refuses a name that no queue can have and an
  overlong reason also where the rate is unset; Temporal's keeps such a configuration and heeds it nowhere.
* ListWorkers and CountWorkers refuse a query that names an unknown field or compares it with what it cannot be, and
  read `IN` and `NOT`; Temporal's finds no worker then. Workers come in order of their instance keys.
* Workers' build ids stand in histories and on DescribeWorkflowExecution; the search attribute `BuildIds` is not set.
  A poll that asks for the tasks of its version set or rules alone (`use_versioning`) is refused with `UNIMPLEMENTED`.
* A worker that ShutdownWorker names is marked as shutting down, with or without a heartbeat in the request.

## Schedules differ from Temporal's in this

* UpdateSchedule with a conflict token that is no longer the schedule's is refused with `FAILED_PRECONDITION`;
  Temporal's default scheduler answers OK and does nothing. A memo in the request replaces the schedule's.
* What could never start (an impossible retry policy or priority, an overlarge memo) is refused when the schedule is
  made.
* Exclusions are checked like calendars.
* An action that is older than the catchup window is counted as missed once.
* The next time is searched for past 5,000 excluded days, hours, minutes or seconds, then given up.
* Where a zone left out a whole day (Samoa, 2011) times go on; Temporal's go back a day, again and again.
* Errors about a schedule that is not there name the schedule, and not the workflow that Temporal keeps it in.
* `keep_original_workflow_id` is shown and has no effect, as on Temporal's server.
"""

_SETTINGS_HEAD: Final = """
## Settings that count

`stormsail server start-dev --dynamic-config-value KEY=JSON` honours these of Temporal's dynamic settings, in any case
of their letters; one value counts for all namespaces and task queues. Any other is named on stderr as without effect
(at the log levels info and debug), unless it says what is so here anyway (`system.enableEagerWorkflowStart=true`). A
value that a setting cannot have is refused with its rule.

| setting | give | default |
|---|---|---|
"""


def page() -> str:
    """Return the page's text."""
    parts = [_HEAD]
    for service in SERVICES:
        methods = [method for method in METHODS.values() if method.service == service.full_name]
        served = [method for method in methods if method.handler is not None]
        parts.append(f"\n## {service.full_name}\n\n{len(served)} of {len(methods)} methods are served.\n\n")
        parts.append("| method | state | what it does here |\n|---|---|---|\n")
        for method in methods:
            if method.handler is None:
                parts.append(f"| {method.name} | not served | |\n")
            else:
                doc = (method.handler.__doc__ or "").strip().splitlines()[0]
                parts.append(f"| {method.name} | served | {doc} |\n")
    return "".join(parts) + _settings()


def _settings() -> str:
    rows = [
        f"| `{setting.name}` | {setting.rule} | {_shown(setting)} |\n"
        for setting in sorted(SETTINGS.values(), key=lambda setting: setting.name.lower())
    ]
    return _SETTINGS_HEAD + "".join(rows)


def _shown(setting: Setting) -> str:
    """Show a setting's default as one would give it."""
    default = getattr(DEFAULT_LIMITS, setting.limit)
    if setting.limit.endswith("_ms"):
        return f"{default / 1_000:g}s" if default >= 1_000 else f"{default}ms"
    return str(default).lower() if isinstance(default, bool) else f"{default:,}"


def with_page(text: str) -> str:
    """Return the file's text with the page made anew; what stands behind the mark is kept."""
    _, mark, rest = text.partition(MARK)
    return page() + mark + rest


def main(path: Path) -> None:
    """Write the page."""
    path.write_text(with_page(path.read_text() if path.exists() else ""))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
