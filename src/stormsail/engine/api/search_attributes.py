"""Which search attributes exist: the system's own, and those a caller may set though nobody registered them.

Custom ones cannot be registered yet, so a name that is in neither table is refused, as Temporal refuses it.
"""

from typing import Final

from temporalio.api.common.v1 import SearchAttributes
from temporalio.api.enums.v1 import IndexedValueType

from stormsail.engine.core.errors import InvalidArgument

_KEYWORD: Final = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
_KEYWORDS: Final = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST
_INT: Final = IndexedValueType.INDEXED_VALUE_TYPE_INT
_TIME: Final = IndexedValueType.INDEXED_VALUE_TYPE_DATETIME
_BOOL: Final = IndexedValueType.INDEXED_VALUE_TYPE_BOOL

KEYS_MAX: Final = 100
VALUE_SIZE_MAX: Final = 2 * 1024
TOTAL_SIZE_MAX: Final = 40 * 1024

SYSTEM: Final[dict[str, IndexedValueType.ValueType]] = {
    "WorkflowId": _KEYWORD,
    "RunId": _KEYWORD,
    "WorkflowType": _KEYWORD,
    "StartTime": _TIME,
    "ExecutionTime": _TIME,
    "CloseTime": _TIME,
    "ExecutionStatus": _KEYWORD,
    "TaskQueue": _KEYWORD,
    "HistoryLength": _INT,
    "ExecutionDuration": _INT,
    "StateTransitionCount": _INT,
    "HistorySizeBytes": _INT,
    "ParentWorkflowId": _KEYWORD,
    "ParentRunId": _KEYWORD,
    "RootWorkflowId": _KEYWORD,
    "RootRunId": _KEYWORD,
}
"""Set by the server alone."""

SETTABLE: Final[dict[str, IndexedValueType.ValueType]] = {
    "TemporalChangeVersion": _KEYWORDS,
    "BinaryChecksums": _KEYWORDS,
    "BuildIds": _KEYWORDS,
    "BatcherNamespace": _KEYWORD,
    "BatcherUser": _KEYWORD,
    "TemporalScheduledStartTime": _TIME,
    "TemporalScheduledById": _KEYWORD,
    "TemporalSchedulePaused": _BOOL,
    "TemporalNamespaceDivision": _KEYWORD,
    "TemporalPauseInfo": _KEYWORDS,
    "TemporalReportedProblems": _KEYWORDS,
}
"""Known beforehand and set by SDKs and tools: workflow.patched, for one, upserts TemporalChangeVersion."""


def check(given: SearchAttributes, namespace: str) -> None:
    """Refuse attributes that are the server's own, unknown, or too large."""
    fields = given.indexed_fields
    if len(fields) > KEYS_MAX:
        raise InvalidArgument(f"number of search attributes {len(fields)} exceeds limit {KEYS_MAX}")
    for name, payload in fields.items():
        if name in SYSTEM:
            raise InvalidArgument(f"{name} attribute can't be set in SearchAttributes")
        if name not in SETTABLE:
            raise InvalidArgument(f"Namespace {namespace} has no mapping defined for search attribute {name}")
        if len(payload.data) > VALUE_SIZE_MAX:
            raise InvalidArgument(
                f"search attribute {name} value size {len(payload.data)} exceeds size limit {VALUE_SIZE_MAX}"
            )
    if given.ByteSize() > TOTAL_SIZE_MAX:
        raise InvalidArgument(f"total size of search attributes {given.ByteSize()} exceeds size limit {TOTAL_SIZE_MAX}")
