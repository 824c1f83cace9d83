"""Temporal's names of settings, as far as they name a limit that there is here. All other settings have no effect.

A namespace cannot have a value of its own here: one value counts for all.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.limits import Limits

LIMITS: Final[Mapping[str, str]] = {
    name.lower(): limit
    for name, limit in {
        "limit.maxIDLength": "id_length_max",
        "limit.blobSize.error": "blob_size_max",
        "limit.blobSize.warn": "blob_size_warn",
        "limit.memoSize.error": "memo_size_max",
        "limit.historySize.error": "history_size_max",
        "limit.historySize.suggestContinueAsNew": "history_size_suggest_continue_as_new",
        "limit.historyCount.error": "history_events_max",
        "limit.historyCount.suggestContinueAsNew": "history_events_suggest_continue_as_new",
        "limit.numPendingActivities.error": "pending_activities_max",
        "limit.mutableStateActivityFailureSize.error": "activity_failure_size_max",
        "history.maximumSignalsPerExecution": "signals_max",
        "history.maximumBufferedEventsBatch": "buffered_events_max",
        "history.MaxBufferedQueryCount": "buffered_queries_max",
        "history.maxInFlightUpdates": "updates_in_flight_max",
        "history.maxTotalUpdates": "updates_max",
        "frontend.visibilityMaxPageSize": "visibility_page_max",
    }.items()
}
"""By the setting's name in lower case, as Temporal compares them."""


def apply_settings(limits: Limits, settings: Mapping[str, object]) -> tuple[Limits, list[str]]:
    """Return the limits with settings applied, and the names of those that have no effect here."""
    changed: dict[str, int] = {}
    without_effect: list[str] = []
    for name, value in settings.items():
        limit = LIMITS.get(name.lower())
        if limit is None:
            without_effect.append(name)
        elif type(value) is not int or value < 0:
            raise InvalidArgument(f"{name} is {value!r}: give a whole number, 0 or more.")
        else:
            changed[limit] = value
    return replace(limits, **changed), without_effect
