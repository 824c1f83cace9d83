-- Custom search attributes. A removed one stays, not live, for its number may be in `indexed`.
CREATE TABLE search_attribute (
    number    INTEGER PRIMARY KEY,  -- from 1,000 on; smaller ones are the server's own attributes
    namespace TEXT NOT NULL,
    name      TEXT NOT NULL,
    type      INTEGER NOT NULL,  -- an IndexedValueType
    field     TEXT NOT NULL,
    live      INTEGER NOT NULL
) STRICT;

-- What runs are found by besides the columns of `run`: a row a value, and so several for a list. Text is there as its
-- words, instants as nanoseconds since the epoch, booleans as 0 and 1.
CREATE TABLE indexed (
    rid       INTEGER NOT NULL,
    attribute INTEGER NOT NULL,
    value     ANY NOT NULL,
    PRIMARY KEY (rid, attribute, value)
) STRICT, WITHOUT ROWID;

CREATE INDEX indexed_value ON indexed (attribute, value);

INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('indexed', 'indexed', '1000000 4 1 1'),
    ('indexed', 'indexed_value', '1000000 100000 100 1');
