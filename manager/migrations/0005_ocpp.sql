-- OCPP. Times are milliseconds of UTC since 1970.

-- Transactions of other makers' chargers here. `id` is what OCPP 1.6 calls transactionId, and our session's number.
CREATE TABLE ocpp_transaction (
    id INTEGER PRIMARY KEY,
    charger TEXT NOT NULL,
    theirs TEXT NOT NULL,                    -- what the charger calls it; for 1.6 what tells a repeated start
    tag TEXT NOT NULL,
    card TEXT NOT NULL,
    began_ms INTEGER NOT NULL,
    begin_wh INTEGER NOT NULL,
    ended_ms INTEGER,                        -- NULL: runs
    end_wh INTEGER,
    why TEXT,
    UNIQUE (charger, theirs)
) STRICT;

-- What is to be delivered to the central system, in this order; a row goes when it was answered.
CREATE TABLE ocpp_queue (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    point TEXT NOT NULL,                     -- which of our charge points says it
    message TEXT NOT NULL,                   -- the call's number: the same when it has to be sent again
    action TEXT NOT NULL,
    payload TEXT NOT NULL                    -- JSON
) STRICT;

-- What the central system has set at one of our charge points: profiles, variables, the local list, reservations.
CREATE TABLE ocpp_set (
    point TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,                     -- JSON
    PRIMARY KEY (point, kind, name)
) STRICT, WITHOUT ROWID;
