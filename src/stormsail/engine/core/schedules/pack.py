"""A schedule as bytes: its definition, which changes with updates only, and its progress.

The progress is JSON with messages in base64, marked with its version; one of another version is refused.
"""

import json
from base64 import b64decode, b64encode
from dataclasses import fields
from typing import Any, Final

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.api.schedule.v1 import Schedule as ScheduleMessage

from stormsail.engine.core import compact_json
from stormsail.engine.core.schedules.state import (
    Backfill,
    Buffered,
    Ending,
    Recent,
    Running,
    Schedule,
    ScheduleKey,
    Starting,
)

VERSION: Final = 1
_KEPT_ELSEWHERE: Final = frozenset({"key", "spec", "action", "policies", "memo", "search_attributes"})
_PLAIN: Final = tuple(
    each.name
    for each in fields(Schedule)
    if each.name
    not in _KEPT_ELSEWHERE
    | {"buffered", "starting", "running", "recent", "backfills", "last_result", "last_failure", "request_ids"}
)


class UnknownVersion(ValueError):
    """Progress that another version wrote."""


def definition(schedule: Schedule) -> bytes:
    """Return what the schedule is: spec, action and policies."""
    message = ScheduleMessage(spec=schedule.spec, action=schedule.action, policies=schedule.policies)
    return message.SerializeToString(deterministic=True)


def progress(schedule: Schedule) -> bytes:
    """Return all else but the key, the memo and the search attributes."""
    packed: dict[str, Any] = {name: getattr(schedule, name) for name in _PLAIN}
    packed["v"] = VERSION
    packed["buffered"] = [_buffered(each) for each in schedule.buffered]
    packed["starting"] = [
        [_buffered(each.action), each.workflow_id, each.tracked, each.give_up_at_ms] for each in schedule.starting
    ]
    packed["running"] = [[each.workflow_id, each.run_id, each.ending.value, each.asked] for each in schedule.running]
    packed["recent"] = [
        [each.schedule_ms, each.actual_ms, each.workflow_id, each.run_id, each.status] for each in schedule.recent
    ]
    packed["backfills"] = [[each.after_ms, each.until_ms, int(each.overlap)] for each in schedule.backfills]
    packed["last_result"] = _message(schedule.last_result)
    packed["last_failure"] = _message(schedule.last_failure)
    packed["request_ids"] = schedule.request_ids
    return compact_json.pack(packed)


def unpack(key: ScheduleKey, defined: bytes, memo: bytes, search_attributes: bytes, packed: bytes) -> Schedule:
    """Return the schedule that these bytes were made of. Raises UnknownVersion."""
    found = json.loads(packed)
    if found.pop("v", None) != VERSION:
        raise UnknownVersion(f"its progress is not of version {VERSION}")
    message = ScheduleMessage.FromString(defined)
    result, failure = found.pop("last_result"), found.pop("last_failure")
    return Schedule(
        key=key,
        spec=message.spec,
        action=message.action,
        policies=message.policies,
        memo=memo,
        search_attributes=search_attributes,
        buffered=tuple(Buffered(*each) for each in found.pop("buffered")),
        starting=tuple(Starting(Buffered(*action), *rest) for action, *rest in found.pop("starting")),
        running=tuple(Running(id_, run, Ending(ending), asked) for id_, run, ending, asked in found.pop("running")),
        recent=tuple(Recent(*each) for each in found.pop("recent")),
        backfills=tuple(Backfill(*each) for each in found.pop("backfills")),
        last_result=Payloads.FromString(b64decode(result)) if result is not None else None,
        last_failure=Failure.FromString(b64decode(failure)) if failure is not None else None,
        request_ids=tuple(found.pop("request_ids")),
        **found,
    )


def _buffered(each: Buffered) -> list[Any]:
    return [each.number, each.nominal_ms, each.at_ms, int(each.overlap), each.manual]


def _message(message: Message | None) -> str | None:
    return None if message is None else b64encode(message.SerializeToString(deterministic=True)).decode()
