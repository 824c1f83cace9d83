-- Pending activities of runs that have many of them: a row each, so that a turn writes those that it changed. Where they
-- are few they stand in the run's row, as all did before. id = rid << 24 | id of the scheduled event, as in `history`.
CREATE TABLE activity (
    id   INTEGER PRIMARY KEY,
    crc  INTEGER NOT NULL,  -- over run_id, scheduled event and data
    data BLOB NOT NULL  -- activities.py: what of it history does not say, and the task that waits
) STRICT;
