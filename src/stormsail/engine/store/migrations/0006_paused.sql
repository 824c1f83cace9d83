-- A paused run is open too, though its status is not 1.
DROP INDEX run_open;
CREATE UNIQUE INDEX run_open ON run (namespace, workflow_id) WHERE close_ms IS NULL;
