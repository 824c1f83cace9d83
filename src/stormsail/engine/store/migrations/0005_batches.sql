-- Operations on many runs at once. `request` is a StartBatchOperationRequest; how far it got is `completed` + `failed`.
CREATE TABLE batch (
    namespace  TEXT NOT NULL,
    job_id     TEXT NOT NULL,
    state      INTEGER NOT NULL,  -- a BatchOperationState
    started_ms INTEGER NOT NULL,
    closed_ms  INTEGER,
    total      INTEGER NOT NULL,
    completed  INTEGER NOT NULL,
    failed     INTEGER NOT NULL,
    request    BLOB NOT NULL,
    PRIMARY KEY (namespace, job_id)
) STRICT, WITHOUT ROWID;

-- The runs that a batch concerns, told when it began: as JSON, in parts. Gone when it ends.
CREATE TABLE batch_part (
    namespace TEXT NOT NULL,
    job_id    TEXT NOT NULL,
    part      INTEGER NOT NULL,
    runs      BLOB NOT NULL,
    PRIMARY KEY (namespace, job_id, part)
) STRICT, WITHOUT ROWID;
