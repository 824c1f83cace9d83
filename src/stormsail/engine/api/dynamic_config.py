"""Temporal's names of settings, as far as they name something that can be set here. All others have no effect, and the
caller is told so by name.

A namespace or a task queue cannot have a value of its own here: one value counts for all.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.limits import Limits

_UNLIMITED: Final = 1 << 62
_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LENGTH: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a setting sets, and how its value is read."""

    name: str
    """As Temporal writes it."""
    limit: str
    """A field of Limits."""
    read: Callable[[object], float | bool | None]
    """Return the field's value; None where this is no value of the setting."""
    rule: str


def _whole(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _whole_or_unlimited(value: object) -> int | None:
    return _UNLIMITED if value == 0 and type(value) is int else _whole(value)


def _positive(value: object) -> int | None:
    return _whole(value) or None


def _level(value: object) -> int | None:
    return value if type(value) is int and 1 <= value <= 60 else None


def _number(value: object) -> float | None:
    return float(value) if type(value) in (int, float) and 0 <= value < math.inf else None  # type: ignore[arg-type, operator]


def _truth(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _length_ms(value: object) -> int | None:
    """Read a length of time as Temporal writes it: `1m30s`; a bare number counts seconds."""
    if isinstance(value, str):
        if re.fullmatch(f"(?:{_LENGTH.pattern})+", value, re.ASCII):
            return int(sum(float(number) * _UNITS_MS[unit] for number, unit in _LENGTH.findall(value)))
        value = float(value) if re.fullmatch(r"\d+(\.\d+)?", value, re.ASCII) else None
    number = _number(value)
    return None if number is None else int(number * 1_000)


_WHOLE: Final = (_whole, "a whole number, 0 or more")
_WHOLE_OR_UNLIMITED: Final = (_whole_or_unlimited, "a whole number, 0 for no limit")
_POSITIVE: Final = (_positive, "a whole number, 1 or more")
_LEVELS: Final = (_level, "a whole number from 1 to 60")
_NUMBER: Final = (_number, "a number, 0 or more")
_TRUTH: Final = (_truth, "true or false")
_LENGTH_OF_TIME: Final = (_length_ms, 'a length of time, as "10s" or "1m30s"')

SETTINGS: Final[Mapping[str, Setting]] = {
    name.lower(): Setting(name, limit, *kind)
    for name, (limit, kind) in {
        "limit.maxIDLength": ("id_length_max", _WHOLE),
        "limit.workerBuildIdSize": ("build_id_size_max", _WHOLE),
        "limit.blobSize.error": ("blob_size_max", _WHOLE),
        "limit.blobSize.warn": ("blob_size_warn", _WHOLE),
        "limit.memoSize.error": ("memo_size_max", _WHOLE),
        "limit.historySize.error": ("history_size_max", _WHOLE),
        "limit.historySize.suggestContinueAsNew": ("history_size_suggest_continue_as_new", _WHOLE),
        "limit.historyCount.error": ("history_events_max", _WHOLE),
        "limit.historyCount.suggestContinueAsNew": ("history_events_suggest_continue_as_new", _WHOLE),
        "limit.numPendingActivities.error": ("pending_activities_max", _WHOLE),
        "limit.numPendingChildExecutions.error": ("pending_children_max", _WHOLE),
        "limit.numPendingSignals.error": ("pending_signals_sent_max", _WHOLE),
        "limit.numPendingCancelRequests.error": ("pending_cancels_sent_max", _WHOLE),
        "limit.mutableStateActivityFailureSize.error": ("activity_failure_size_max", _WHOLE),
        "history.maximumSignalsPerExecution": ("signals_max", _WHOLE),
        "history.maximumBufferedEventsBatch": ("buffered_events_max", _WHOLE),
        "history.maximumBufferedEventsSizeInBytes": ("buffered_events_size_max", _WHOLE),
        "history.MaxBufferedQueryCount": ("buffered_queries_max", _WHOLE),
        "history.maxInFlightUpdates": ("updates_in_flight_max", _WHOLE_OR_UNLIMITED),
        "history.maxInFlightUpdatePayloads": ("updates_in_flight_size_max", _WHOLE_OR_UNLIMITED),
        "history.maxTotalUpdates": ("updates_max", _WHOLE_OR_UNLIMITED),
        "history.maxTotalUpdates.suggestContinueAsNewThreshold": ("updates_suggest_continue_as_new", _NUMBER),
        "history.discardSpeculativeWorkflowTaskMaximumEventsCount": ("discard_speculative_events_max", _WHOLE),
        "history.defaultWorkflowTaskTimeout": ("default_workflow_task_timeout_ms", _LENGTH_OF_TIME),
        "history.workflowTaskHeartbeatTimeout": ("workflow_task_heartbeat_timeout_ms", _LENGTH_OF_TIME),
        "history.workflowTaskRetryMaxInterval": ("workflow_task_retry_max_ms", _LENGTH_OF_TIME),
        "history.longPollExpirationInterval": ("history_long_poll_ms", _LENGTH_OF_TIME),
        "matching.longPollExpirationInterval": ("long_poll_ms", _LENGTH_OF_TIME),
        "matching.priorityLevels": ("priority_levels", _LEVELS),
        "matching.enableFairness": ("fairness", _TRUTH),
        "matching.maxFairnessKeyWeightOverrides": ("fairness_weights_max", _WHOLE),
        "matching.pollerScalingWaitTime": ("scaling_idle_poll_ms", _LENGTH_OF_TIME),
        "matching.pollerScalingMinimumBacklog": ("scaling_old_backlog_ms", _LENGTH_OF_TIME),
        "matching.pollerScalingDecisionsPerSecond": ("scaling_decisions_per_s", _NUMBER),
        "matching.pollerScalingTaskAddToDispatchRatio": ("scaling_add_to_dispatch_ratio", _NUMBER),
        "matching.workerRegistryEntryTTL": ("worker_kept_ms", _LENGTH_OF_TIME),
        "matching.workerRegistryMaxEntries": ("workers_kept_max", _POSITIVE),
        "frontend.visibilityMaxPageSize": ("visibility_page_max", _POSITIVE),
        "frontend.MaxConcurrentBatchOperationPerNamespace": ("batches_running_max", _POSITIVE),
        "frontend.MaxExecutionCountBatchOperationPerNamespace": ("batch_executions_max", _WHOLE),
    }.items()
}
"""By the setting's name in lower case, as Temporal compares them."""

ALWAYS: Final[Mapping[str, bool]] = {
    name.lower(): value
    for name, value in {
        "frontend.enableCancelWorkerPollsOnShutdown": True,
        "frontend.enableExecuteMultiOperation": True,
        "frontend.enableUpdateWorkflowExecution": True,
        "frontend.enableUpdateWorkflowExecutionAsyncAccepted": True,
        "frontend.ListWorkersEnabled": True,
        "frontend.WorkerHeartbeatsEnabled": True,
        "frontend.WorkerCommandsEnabled": False,
        "history.sendTransientOrSpeculativeWorkflowTaskEvents": True,
        "matching.useNewMatcher": True,
        "system.enableEagerWorkflowStart": True,
        "system.forceSearchAttributesCacheRefreshOnRead": True,
    }.items()
}
"""Switches that stand one way here, by name in lower case. To set one so changes nothing, and nobody need be told."""


def apply_settings(limits: Limits, settings: Mapping[str, object]) -> tuple[Limits, list[str]]:
    """Return the limits with settings applied, and the names of those that have no effect here."""
    changed: dict[str, Any] = {}
    without_effect: list[str] = []
    for name, value in settings.items():
        setting = SETTINGS.get(name.lower())
        if setting is None:
            if ALWAYS.get(name.lower()) is not value:
                without_effect.append(name)
            continue
        read = setting.read(value)
        if read is None:
            raise InvalidArgument(f"{name} is {value!r}: give {setting.rule}.")
        changed[setting.limit] = read
    return replace(limits, **changed), without_effect
