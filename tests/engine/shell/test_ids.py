"""Ids of the running server."""

import time
import uuid

from stormsail.engine.shell.ids import RandomIds


def test_an_id_is_a_uuid_of_version_7_that_begins_with_the_time() -> None:
    before_ms = time.time_ns() // 1_000_000
    made = uuid.UUID(RandomIds().uuid())
    after_ms = time.time_ns() // 1_000_000
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before_ms <= made.int >> 80 <= after_ms


def test_ids_differ_also_within_a_millisecond() -> None:
    ids = RandomIds()
    assert len({ids.uuid() for _ in range(10_000)}) == 10_000
