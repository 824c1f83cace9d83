"""Every bound in one place. The values are Temporal's own defaults unless a comment says otherwise."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds a decision or the shell keeps. Sizes in bytes, times in milliseconds."""

    id_length_max: int = 1_000
    blob_size_max: int = 2 * 1024 * 1024
    blob_size_warn: int = 512 * 1024
    """What is kept of a failure that is larger than `blob_size_max`."""
    activity_failure_size_max: int = 4 * 1024
    """What a run keeps of an attempt's failure while the activity is retried."""
    memo_size_max: int = 2 * 1024 * 1024
    grpc_message_size_max: int = 4 * 1024 * 1024
    history_events_max: int = 51_200
    history_size_max: int = 50 * 1024 * 1024
    history_events_suggest_continue_as_new: int = 4_096
    history_size_suggest_continue_as_new: int = 4 * 1024 * 1024
    signals_max: int = 10_000
    pending_activities_max: int = 2_000
    activities_inside_max: int = 32
    """A run with more pending activities has each in a row of its own, so that a turn writes those that it changed."""
    pending_children_max: int = 2_000
    pending_signals_sent_max: int = 2_000
    pending_cancels_sent_max: int = 2_000
    """These three count what a run has asked of other runs and not heard of yet."""
    pending_timers_max: int = 20_000
    """Ours: Temporal sets none."""
    buffered_events_max: int = 100
    buffered_events_size_max: int = 2 * 1024 * 1024
    default_workflow_task_timeout_ms: int = 10_000
    workflow_task_timeout_max_ms: int = 120_000
    workflow_task_retry_initial_ms: int = 5_000
    workflow_task_retry_max_ms: int = 600_000
    workflow_task_retry_free_attempts: int = 3
    """Attempts after which the start-to-close timeout of a failing workflow task grows."""
    workflow_task_heartbeat_timeout_ms: int = 1_800_000
    """How long a worker may ask for one workflow task after the other without any command."""
    continue_as_new_interval_min_ms: int = 1_000
    """A run that follows another begins at least this long after it."""
    default_activity_retry_initial_ms: int = 1_000
    default_activity_retry_coefficient: float = 2.0
    default_activity_retry_max_interval_factor: int = 100
    long_poll_ms: int = 60_000
    history_long_poll_ms: int = 20_000
    history_page_events_max: int = 1_000
    """Ours counts events a page; the server it follows counts batches."""
    visibility_page_max: int = 1_000
    query_timeout_ms: int = 10_000
    buffered_queries_max: int = 1
    """Queries that may wait on one run's next workflow task, per Temporal's `history.MaxBufferedQueryCount`."""
    pollers_per_queue_max: int = 10_000
    scaling_idle_poll_ms: int = 1_000
    """A poll that waited longer for a task that came fresh was one too many."""
    scaling_old_backlog_ms: int = 200
    """From which age on a backlog asks for one poll more."""
    scaling_decisions_per_s: float = 10.0
    """How often a queue asks for more polls, for each of its pollers."""
    scaling_add_to_dispatch_ratio: float = 1.2
    """So many times as fast as they go may tasks come; past that one poll more is asked for."""
    workers_kept_max: int = 10_000
    """Workers whose heartbeats are kept. Ours, as is the next: Temporal keeps a million."""
    workers_kept_bytes_max: int = 64 * 1024 * 1024
    worker_kept_ms: int = 300_000
    """How long a worker is taken for alive after its last heartbeat."""
    build_id_size_max: int = 255
    priority_levels: int = 5
    fairness: bool = True
    """Whether fairness keys count. Ours: Temporal's server has them off unless `matching.enableFairness` says so."""
    task_queue_configs_max: int = 10_000
    """Task queues that UpdateTaskQueueConfig may configure. Ours: they are held in memory."""
    fairness_weights_max: int = 1_000
    """Fairness keys of one task queue that UpdateTaskQueueConfig may give a weight."""
    task_queues_max: int = 50_000
    """Task queues that may be in memory: those with tasks or polls, and those used in the last minutes. Past that polls
    of others are refused. Ours, as are the next ones."""
    waiting_tasks_max: int = 2_000_000
    """Tasks that wait for workers, past which no run is started. Each takes about 220 bytes in a long queue."""
    undelivered_bytes_max: int = 64 * 1024 * 1024
    """Responses kept for the next poller after one went away. One more is dropped, and its task times out."""
    quarantined_max: int = 10_000
    """Runs remembered as put aside. A forgotten one is looked at again when somebody asks for it."""
    open_runs_cached_max: int = 20_000
    open_runs_cached_size_max: int = 96 * 1024 * 1024
    """Estimated. Those used longest ago leave memory, but not the last one."""
    recent_events_size_max: int = 32 * 1024 * 1024
    """The newest events of all runs, kept in memory beside the file."""
    recent_events_of_run_size_max: int = 256 * 1024
    commit_queue_max: int = 20_000
    """Turns that may wait for the disk; past that requests are refused with RESOURCE_EXHAUSTED."""
    outbox_held_max: int = 2_000
    outbox_held_bytes_max: int = 64 * 1024 * 1024
    """Messages between runs that wait in memory; the others wait on disk alone."""
    outbox_deliveries_max: int = 200
    """Runs that take messages at the same time."""
    retention_sweep_ms: int = 60_000
    """How often runs whose retention is over are looked for. Ours, as is the next."""
    retention_batch_max: int = 100
    """Runs deleted at a time; others go on between two batches."""
    batches_running_max: int = 1
    """In one namespace, per Temporal's `frontend.MaxConcurrentBatchOperationPerNamespace`."""
    batch_executions_max: int = 1_000
    """Runs that a batch may name one by one."""
    batch_runs_max: int = 1_000_000
    """Runs that a batch's query may find. Ours: they are told when it begins, and kept until it ends."""
    batch_operations_per_s_max: int = 50
    timer_window_ms: int = 60_000
    recovered_first_runs: int = 500
    """Runs whose tasks a server that starts puts back into their queues before it serves; the others follow while it
    does."""
    recovered_runs_at_once: int = 100
    """So many of those between two calls that are served: a few milliseconds."""
    namespaces_max: int = 10_000
    eager_activities_max: int = 100
    updates_in_flight_max: int = 10
    """Updates of one run that are admitted or accepted, and not completed."""
    updates_in_flight_size_max: int = 20 * 1024 * 1024
    updates_max: int = 2_000
    """Updates of one run in all, but for rejected ones."""
    updates_suggest_continue_as_new: float = 0.9
    """At which part of `updates_max` a run is advised to continue as new."""
    discard_speculative_events_max: int = 10
    """A speculative workflow task that showed more events is kept: they shall not be sent again and again."""


DEFAULT_LIMITS = Limits()
