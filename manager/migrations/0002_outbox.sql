-- What waits to be sent to the fog, oldest first; a row goes when the fog has it.
CREATE TABLE outbox (
    n INTEGER PRIMARY KEY AUTOINCREMENT,     -- never used again: it numbers the manager's own records
    rank INTEGER NOT NULL,                   -- what goes first when the disk is full: see manager.outbox
    device TEXT NOT NULL,
    boot INTEGER NOT NULL,
    seq INTEGER,                             -- NULL: the manager's own, numbered by n
    kind TEXT NOT NULL,
    t_ms INTEGER NOT NULL,
    fields TEXT NOT NULL                     -- JSON
) STRICT;
