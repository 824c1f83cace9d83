"""Planted bugs, by name: each stands between two parts of the engine, so that production code has no switch for it.

A simulator that misses one of them has a hole, and its silence about the real engine is worth less.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from stormsail.engine.shell.runs import Core
from stormsail.engine.sim import planted_batches, planted_core, planted_late, planted_shell, planted_store
from stormsail.engine.sim.planted_core import deciding
from stormsail.engine.sim.tampering import Tampering


@dataclass(frozen=True, slots=True)
class Mutant:
    """A planted bug: what it is called, what it does, and what does it."""

    name: str
    says: str
    tampering: Tampering


_ALL: Final = (
    Mutant(
        "reply-before-commit",
        "a call is answered before its turn is on disk",
        Tampering(store=planted_store.RepliesFirst),
    ),
    Mutant("sync-off", "PRAGMA synchronous = OFF", Tampering(connection=planted_store.synchronous("OFF"))),
    Mutant(
        "sync-normal",
        "PRAGMA synchronous = NORMAL: the log is not synced at a commit",
        Tampering(connection=planted_store.synchronous("NORMAL")),
    ),
    Mutant("lying-fsync", "fsync does nothing", Tampering(disk=planted_store.lies)),
    Mutant("lying-fsync-sometimes", "every fourth fsync does nothing", Tampering(disk=planted_store.lies_now_and_then)),
    Mutant(
        "checkpoint-not-synced",
        "the file is not synced at a checkpoint, the log is",
        Tampering(disk=planted_store.lies_about_file),
    ),
    Mutant(
        "name-not-synced", "a new file's directory entry is never synced", Tampering(disk=planted_store.loses_names)
    ),
    Mutant("yes-when-full", "a full disk is acknowledged", Tampering(store=planted_store.SaysYesWhenFull)),
    Mutant(
        "keep-failed-turn",
        "a turn that could not be written stays in memory",
        Tampering(store=planted_store.KeepsWhatFailed),
    ),
    Mutant("commit-half", "a run that follows another is not written", Tampering(store=planted_store.CommitsHalf)),
    Mutant("commit-in-two", "a run and its follower are two commits", Tampering(store=planted_store.CommitsInTwo)),
    Mutant(
        "progress-not-saved", "attempts of activities are not saved", Tampering(store=planted_store.ForgetsProgress)
    ),
    Mutant("buffer-not-saved", "buffered events are not saved", Tampering(store=planted_store.LosesBufferOnDisk)),
    Mutant(
        "deadline-not-read",
        "the last deadline is not read at a start",
        Tampering(store=planted_store.LosesLastDeadline),
    ),
    Mutant("task-not-read", "a waiting task is not read at a start", Tampering(store=planted_store.LosesOneTask)),
    Mutant(
        "history-page-short",
        "a history's page ends early and claims to be the last",
        Tampering(store=planted_store.ForgetsEndOfHistory),
    ),
    Mutant(
        "filter-drops-predicate",
        "a filter's second predicate is dropped",
        Tampering(store=planted_store.DropsPredicate),
    ),
    Mutant(
        "page-skips-row", "a list leaves one run out between pages", Tampering(store=planted_store.SkipsRowAtPageEnd)
    ),
    Mutant(
        "no-start-request-id",
        "a repeated start is a new one",
        Tampering(core=Core(decide_start=planted_core.no_start_request_id)),
    ),
    Mutant(
        "no-signal-request-id",
        "a repeated signal is a new one",
        Tampering(core=deciding(planted_core.no_signal_request_id)),
    ),
    Mutant(
        "stale-activity-token",
        "an activity token of an earlier attempt is taken",
        Tampering(core=deciding(planted_core.stale_activity_token)),
    ),
    Mutant(
        "stale-task-token",
        "a workflow task token of an earlier task is taken",
        Tampering(core=deciding(planted_core.stale_task_token)),
    ),
    Mutant(
        "late-answer-acknowledged",
        "a too late completion is answered OK",
        Tampering(core=deciding(planted_core.acks_stale)),
    ),
    Mutant("timer-early", "timers fire a millisecond early", Tampering(core=planted_core.TIMER_EARLY)),
    Mutant(
        "timeout-early",
        "what is due within a second is done",
        Tampering(core=deciding(planted_core.fires_early(1_000))),
    ),
    Mutant(
        "lost-buffered-event", "the last buffered event is lost", Tampering(core=deciding(planted_core.loses_buffered))
    ),
    Mutant(
        "buffer-reversed",
        "buffered events enter history in reverse",
        Tampering(core=deciding(planted_core.turns_buffer_round)),
    ),
    Mutant("double-close", "a closed run can be terminated", Tampering(core=deciding(planted_core.closes_twice))),
    Mutant(
        "attempt-not-raised", "a retry keeps its attempt's number", Tampering(core=deciding(planted_core.keeps_attempt))
    ),
    Mutant(
        "maximum-attempts-ignored",
        "failures are retried for ever",
        Tampering(core=deciding(planted_core.ignores_maximum)),
    ),
    Mutant(
        "signal-wakes-nobody", "a signal causes no workflow task", Tampering(core=deciding(planted_core.wakes_nobody))
    ),
    Mutant("chain-broken", "the follower of a run is never begun", Tampering(core=deciding(planted_core.breaks_chain))),
    Mutant(
        "second-open-run",
        "a start does not look for an open run",
        Tampering(core=Core(decide_start=planted_core.always_new)),
    ),
    Mutant(
        "poller-not-woken",
        "every tenth task is not offered to pollers",
        Tampering(engine=planted_shell.skips_wake_of_pollers),
    ),
    Mutant(
        "waiter-not-woken",
        "who waits for news of a run is not woken",
        Tampering(engine=planted_shell.skips_wake_of_waiters),
    ),
    Mutant(
        "task-row-not-dropped",
        "a task stays in its queue after its start",
        Tampering(engine=planted_shell.keeps_task_rows),
    ),
    Mutant(
        "task-started-twice",
        "a started workflow task is handed out again",
        Tampering(core=deciding(planted_core.task_started_twice), engine=planted_shell.keeps_started),
    ),
    Mutant("deadline-lost", "every third deadline is forgotten", Tampering(engine=planted_shell.loses_deadline)),
    Mutant(
        "wrong-cache-key",
        "the current run is cached without its namespace",
        Tampering(engine=planted_shell.wrong_cache_key),
    ),
    Mutant(
        "two-turns-at-once", "turns of one run are not put in order", Tampering(engine=planted_shell.two_turns_at_once)
    ),
    Mutant(
        "query-sees-old-state",
        "a query does not wait for events not yet seen",
        Tampering(engine=planted_shell.queries_old_state),
    ),
    Mutant("admission-leak", "turns are never counted out", Tampering(engine=planted_shell.leaks_admission)),
    Mutant("cache-unbounded", "the cache of runs has no bound", Tampering(engine=planted_shell.caches_for_ever)),
    Mutant(
        "stale-cache-of-closed",
        "the cache keeps a run as it was before it closed",
        Tampering(engine=planted_shell.keeps_stale_state),
    ),
    Mutant("priority-not-saved", "how urgent tasks are is not saved", Tampering(store=planted_store.ForgetsPriority)),
    Mutant(
        "message-stays",
        "a message between runs stays on disk once it is taken",
        Tampering(store=planted_store.KeepsTakenMessages),
    ),
    Mutant(
        "message-not-saved", "messages between runs are in memory only", Tampering(store=planted_store.LosesMessages)
    ),
    Mutant(
        "message-not-brought",
        "messages between runs are brought at the next start only",
        Tampering(engine=planted_shell.leaves_messages),
    ),
    Mutant(
        "child-end-untold",
        "a parent is not told that its child has ended",
        Tampering(engine=planted_shell.keeps_child_ends_to_itself),
    ),
    Mutant(
        "schedule-start-forgotten",
        "what a schedule has decided to start is in memory only",
        Tampering(store=planted_late.ForgetsStarts),
    ),
    Mutant(
        "schedule-request-id-anew",
        "each try of a schedule's start has another request id",
        Tampering(engine=planted_late.draws_request_ids_anew),
    ),
    Mutant(
        "schedule-end-unheard",
        "a schedule does not hear that its workflow has ended",
        Tampering(engine=planted_late.hears_no_ends),
    ),
    Mutant(
        "pause-not-noted",
        "a pause of an activity is acknowledged and not noted",
        Tampering(core=deciding(planted_late.notes_no_pause)),
    ),
    Mutant(
        "unpause-wakes-nobody",
        "a run that goes on after a pause gets no workflow task",
        Tampering(core=deciding(planted_late.unpauses_into_silence)),
    ),
    Mutant(
        "retention-early",
        "runs are deleted before their retention is over",
        Tampering(engine=planted_late.sweeps_early),
    ),
    Mutant("retention-never", "retention deletes nothing", Tampering(engine=planted_late.never_sweeps)),
    Mutant(
        "delete-acknowledged-only",
        "a deletion is acknowledged, and nothing is deleted",
        Tampering(store=planted_late.KeepsDeleted),
    ),
    Mutant(
        "reset-tells-nothing",
        "a reset run does not hear again what came after its point",
        Tampering(engine=planted_late.tells_nothing_again),
    ),
    Mutant(
        "urgency-upside-down",
        "the less urgent task goes out first",
        Tampering(engine=planted_late.turns_urgency_round),
    ),
    Mutant(
        "deadline-kept",
        "an activity's deadline is remembered over a change of it",
        Tampering(core=deciding(planted_late.keeps_deadlines)),
    ),
    Mutant(
        "batch-progress-not-saved",
        "how far a batch got is in memory only, until it ends",
        Tampering(store=planted_batches.ForgetsProgress),
    ),
    Mutant(
        "batch-passes-over",
        "a batch counts every fourth run as done, and leaves it alone",
        Tampering(engine=planted_batches.passes_runs_over),
    ),
    Mutant(
        "batch-request-id-anew",
        "what a batch asks of a run has another request id each time",
        Tampering(engine=planted_batches.asks_anew),
    ),
    Mutant(
        "batch-not-taken-up",
        "a batch that was under way is left alone after a restart",
        Tampering(engine=planted_batches.leaves_batches),
    ),
    Mutant(
        "batch-stop-acknowledged-only",
        "a stop of a batch is acknowledged, and nothing is stopped",
        Tampering(engine=planted_batches.stops_in_words),
    ),
)

MUTANTS: Final[Mapping[str, Mutant]] = {mutant.name: mutant for mutant in _ALL}
"""By name, in the order of the table in docs/mutants.md."""


def tampering_of(name: str) -> Tampering:
    """Return a planted bug by its name, or by its number in the table, counted from 1. Raises KeyError."""
    if name.isdigit() and 0 < int(name) <= len(_ALL):
        return _ALL[int(name) - 1].tampering
    return MUTANTS[name].tampering
