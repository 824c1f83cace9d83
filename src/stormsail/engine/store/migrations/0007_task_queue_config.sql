-- What UpdateTaskQueueConfig has made of task queues; the others have no row.
CREATE TABLE task_queue_config (
    namespace TEXT NOT NULL,
    name      TEXT NOT NULL,
    type      INTEGER NOT NULL,  -- a TaskQueueType
    config    BLOB NOT NULL,  -- a TaskQueueConfig
    PRIMARY KEY (namespace, name, type)
) STRICT, WITHOUT ROWID;
