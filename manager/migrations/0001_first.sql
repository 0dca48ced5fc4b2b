-- Times are milliseconds of UTC since 1970, stamped by the manager on arrival; units are in the columns' names.

-- The newest message taken from each device: what came before it is a replay, for ever.
CREATE TABLE heard (
    device TEXT PRIMARY KEY,
    boot INTEGER NOT NULL,
    seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE reading (
    device TEXT NOT NULL,
    boot INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,                  -- when it was measured: arrival less its age
    phase INTEGER NOT NULL CHECK (phase BETWEEN 1 AND 3),
    current_ma INTEGER NOT NULL,
    voltage_dv INTEGER NOT NULL,
    power_w INTEGER NOT NULL,
    energy_wh INTEGER NOT NULL,
    pf_pct INTEGER,
    freq_mhz INTEGER,
    suspect INTEGER NOT NULL DEFAULT 0,
    session INTEGER,
    session_wh INTEGER,
    PRIMARY KEY (device, boot, seq, phase)   -- a message delivered twice is stored once
) STRICT, WITHOUT ROWID;
CREATE INDEX reading_by_time ON reading (at_ms, device);

-- What each charger was given from when on, and why.
CREATE TABLE decision (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    charger TEXT NOT NULL,
    offer_a INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    reason TEXT NOT NULL,
    words TEXT NOT NULL
) STRICT;
CREATE INDEX decision_by_time ON decision (at_ms);

CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    device TEXT NOT NULL,                    -- '' for the site itself
    words TEXT NOT NULL
) STRICT;
CREATE INDEX event_by_time ON event (at_ms);

-- What must outlive a restart and has no row of its own: the manager's boot number, lease numbers, what was set by hand.
CREATE TABLE site (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL                      -- JSON
) STRICT, WITHOUT ROWID;
