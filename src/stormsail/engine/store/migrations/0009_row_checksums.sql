-- A checksum for every small row that is acted on: checksum.row_crc over the other columns, in the order written here.
ALTER TABLE namespace ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE namespace SET crc = row_crc(name, id, described);

ALTER TABLE search_attribute ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE search_attribute SET crc = row_crc(namespace, name, type, number, field, live);

ALTER TABLE task_queue_config ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE task_queue_config SET crc = row_crc(namespace, name, type, config);

ALTER TABLE batch ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE batch SET crc = row_crc(
    namespace, job_id, state, started_ms, closed_ms, total, completed, failed, request
);

ALTER TABLE batch_part ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE batch_part SET crc = row_crc(namespace, job_id, part, runs);
