-- The engine's one file. Version 1; the version is in PRAGMA user_version, who wrote it in PRAGMA application_id.
-- All times are milliseconds since the epoch on the server's clock.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE namespace (
    name      TEXT PRIMARY KEY,
    id        TEXT NOT NULL UNIQUE,
    described BLOB NOT NULL  -- a DescribeNamespaceResponse
) STRICT, WITHOUT ROWID;

-- One row a run. What a list shows of it is here too, so that starting, moving on and closing a run touch one row each.
CREATE TABLE run (
    rid                   INTEGER PRIMARY KEY,  -- rises in order of creation
    namespace             TEXT NOT NULL,
    workflow_id           TEXT NOT NULL,
    run_id                TEXT NOT NULL,
    status                INTEGER NOT NULL,  -- a WorkflowExecutionStatus; 1 is running
    next_event            INTEGER NOT NULL,
    due_ms                INTEGER,  -- when the run must next be looked at
    tasks                 BLOB,  -- tasks that wait for a poller; see tasks.py
    workflow_type         TEXT NOT NULL,
    task_queue            TEXT NOT NULL,
    start_ms              INTEGER NOT NULL,
    execution_ms          INTEGER NOT NULL,
    close_ms              INTEGER,
    history_events        INTEGER,  -- this and the next three: null while open, as lists show them for closed runs only
    history_size_bytes    INTEGER,
    state_transitions     INTEGER,
    execution_duration_ms INTEGER,
    parent_workflow_id    TEXT,
    parent_run_id         TEXT,
    root_workflow_id      TEXT,
    root_run_id           TEXT,
    progress_crc          INTEGER NOT NULL,  -- over run_id, status, next_event and progress
    progress              BLOB NOT NULL  -- core.progress.pack; last, for it may be long
) STRICT;

CREATE UNIQUE INDEX run_key ON run (namespace, run_id);
CREATE UNIQUE INDEX run_open ON run (namespace, workflow_id) WHERE status = 1;
CREATE INDEX run_chain ON run (namespace, workflow_id);
CREATE INDEX run_due ON run (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX run_tasks ON run (rid) WHERE tasks IS NOT NULL;
-- The order of lists: open runs first, then the last closed; 9223372036854775807 stands for "not yet". Also what
-- retention finds a namespace's oldest closed runs by.
CREATE INDEX run_listed ON run (
    namespace, coalesce(close_ms, 9223372036854775807) DESC, start_ms DESC, run_id
);

-- Only for runs that have any; apart from `run`, for a memo may be 2 MiB and changes seldom.
CREATE TABLE attributes (
    rid               INTEGER PRIMARY KEY,
    memo              BLOB NOT NULL,  -- a serialised Memo
    search_attributes BLOB NOT NULL  -- a serialised SearchAttributes
) STRICT;

-- One row a turn: its events, framed end to end, ready to be served.
-- id = rid << 24 | id of the first event. One integer key keeps a run's rows together in order, is compared at once, and
-- lets a row of up to 4 KB stay in its leaf (measured: a quarter less CPU a commit than a two-column key without rowid).
CREATE TABLE history (
    id     INTEGER PRIMARY KEY,
    events INTEGER NOT NULL,
    crc    INTEGER NOT NULL,  -- over run_id, first event, events and data
    data   BLOB NOT NULL
) STRICT;

-- How many rows a value of an index's columns stands for, told by hand: without it SQLite takes a namespace for as
-- selective as a workflow id, and looks for one through a whole list. Never ANALYZE this file.
ANALYZE;
DELETE FROM sqlite_stat1;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('run', 'run_key', '1000000 200000 1'),
    ('run', 'run_open', '1000000 200000 1'),
    ('run', 'run_chain', '1000000 200000 3'),
    ('run', 'run_due', '100000 2'),
    ('run', 'run_tasks', '10000 1'),
    ('run', 'run_listed', '1000000 200000 20 2 1');
