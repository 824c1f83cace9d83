"""Bounds of schedules. They are Temporal's own unless a comment says otherwise."""

from typing import Final

BUFFERED_MAX: Final = 1_000
BACKFILLS_MAX: Final = 1_000
BACKFILLED_AT_ONCE: Final = 10
BACKFILL_PAUSE_MS: Final = 1_000
STEPS_MAX: Final = 1_000
"""Ours: times that one turn looks at. Many are due where a server was down for long."""
RECENT_MAX: Final = 10
FUTURE_MAX: Final = 10
LISTED_MAX: Final = 5
"""Recent actions, and future times, that a list shows."""
LISTED_SPECS_MAX: Final = 10
MATCHING_TIMES_MAX: Final = 1_000
CATCHUP_WINDOW_DEFAULT_MS: Final = 365 * 86_400_000
CATCHUP_WINDOW_MIN_MS: Final = 10_000
RETENTION_MS: Final = 7 * 86_400_000
"""How long a schedule without further actions is kept."""
START_TRIES_MS: Final = 3_600_000
"""How long a start is tried again, at most."""
MANUAL_START_TRIES_MS: Final = 60_000
START_TRIES_MIN_MS: Final = 5_000
NOTES_SIZE_MAX: Final = 1_000
REQUEST_IDS_MAX: Final = 100
"""Ours: repetitions of updates and patches are recognised among so many."""
RESULT_OVERHEAD: Final = 4 * 1_024
"""A result that leaves less than this of the largest blob is not passed on."""
