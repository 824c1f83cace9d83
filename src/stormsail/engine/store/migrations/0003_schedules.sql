-- Schedules. `rid` counts down from -1, so that `indexed` has their search attributes beside those of runs.
CREATE TABLE schedule (
    rid               INTEGER PRIMARY KEY,
    namespace         TEXT NOT NULL,
    schedule_id       TEXT NOT NULL,
    created_ms        INTEGER NOT NULL,
    due_ms            INTEGER,  -- when it must next be looked at
    busy              INTEGER NOT NULL,  -- 1: it has starts to make or workflows to follow
    paused            INTEGER NOT NULL,
    crc               INTEGER NOT NULL,  -- over all that follows, and the names
    memo              BLOB NOT NULL,  -- a serialised Memo
    search_attributes BLOB NOT NULL,  -- a serialised SearchAttributes
    definition        BLOB NOT NULL,  -- core.schedules.pack.definition
    progress          BLOB NOT NULL   -- core.schedules.pack.progress
) STRICT;

CREATE UNIQUE INDEX schedule_key ON schedule (namespace, schedule_id);
CREATE INDEX schedule_due ON schedule (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX schedule_busy ON schedule (rid) WHERE busy = 1;
CREATE INDEX schedule_listed ON schedule (namespace, created_ms DESC, rid);

INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('schedule', 'schedule_key', '10000 2000 1'),
    ('schedule', 'schedule_due', '10000 2'),
    ('schedule', 'schedule_busy', '1000 1'),
    ('schedule', 'schedule_listed', '10000 2000 1 1');
