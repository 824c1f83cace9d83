"""What Temporal's command line spells in one way and its protocol in another."""

import pytest
from temporalio.api.enums.v1 import ScheduleOverlapPolicy, WorkflowIdReusePolicy

from stormsail.cli.temporal.rpc import enum_name
from stormsail.cli.temporal.schedule import OVERLAPS


@pytest.mark.parametrize("camel", OVERLAPS)
def test_every_overlap_policy_that_is_offered_has_its_name_in_the_protocol(camel: str) -> None:
    assert ScheduleOverlapPolicy.Value(enum_name("SCHEDULE_OVERLAP_POLICY_", camel))


def test_words_are_parted_by_underscores() -> None:
    name = enum_name("WORKFLOW_ID_REUSE_POLICY_", "AllowDuplicateFailedOnly")
    assert name == WorkflowIdReusePolicy.Name(
        WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY
    )
