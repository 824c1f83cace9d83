-- What runs tell other runs: there from the commit of the turn that tells it to that of the turn that hears it.
CREATE TABLE outbox (
    id       INTEGER PRIMARY KEY,  -- rises in order of sending, among those that are there together
    run_id   TEXT NOT NULL,  -- this and the next two name it: core.messages.RunMessage.name
    event_id INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    crc      INTEGER NOT NULL,  -- over the name and message
    message  BLOB NOT NULL  -- core.messages.pack
) STRICT;

CREATE UNIQUE INDEX outbox_name ON outbox (run_id, event_id, kind);

INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('outbox', 'outbox_name', '1000 1 1 1');
