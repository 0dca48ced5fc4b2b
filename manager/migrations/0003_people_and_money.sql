-- Money is in 1/10000 of the currency; seconds (`_s`) and milliseconds (`_ms`) are UTC since 1970.

-- Who pays. Limits are NULL where there is none.
CREATE TABLE user (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT NOT NULL DEFAULT '',
    active INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1)),
    max_a INTEGER CHECK (max_a BETWEEN 6 AND 80),
    priority INTEGER CHECK (priority BETWEEN 0 AND 9),          -- NULL: the charger's
    windows TEXT NOT NULL DEFAULT '[]',                         -- JSON: [[start, end, max_a], ..] in minutes of the local week
    quota_wh INTEGER CHECK (quota_wh >= 0),                     -- a month
    chargers TEXT NOT NULL DEFAULT '[]',                        -- JSON; those allowed, empty: all
    owns TEXT NOT NULL DEFAULT '[]',                            -- JSON; what charges there without a card is this user's
    payer TEXT NOT NULL DEFAULT ''                              -- who gets the bill (an employer), '' the user
) STRICT, WITHOUT ROWID;

-- A card's number is not kept: `mark` stands for it (manager.core.rights.card_mark).
CREATE TABLE card (
    mark TEXT PRIMARY KEY,
    user TEXT NOT NULL REFERENCES user (id),
    label TEXT NOT NULL DEFAULT '',                             -- what is written on it, a vehicle's plate
    purpose TEXT NOT NULL DEFAULT 'private' CHECK (purpose IN ('private', 'business')),
    active INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1))
) STRICT, WITHOUT ROWID;
CREATE INDEX card_by_user ON card (user);

-- The list each charger was last sent, and whether it has the secret that its marks are made with.
CREATE TABLE card_list (
    charger TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    marks TEXT NOT NULL,                                        -- JSON
    secret TEXT NOT NULL DEFAULT ''                             -- a hash of the secret it has, '' none
) STRICT, WITHOUT ROWID;

-- One charging session. A charger numbers its own and counts anew if its memory is lost: that is another `era`.
CREATE TABLE session (
    id INTEGER PRIMARY KEY,
    charger TEXT NOT NULL,
    era INTEGER NOT NULL,
    number INTEGER NOT NULL,
    user TEXT NOT NULL DEFAULT '',                              -- '': nobody's
    payer TEXT NOT NULL DEFAULT '',
    mark TEXT NOT NULL DEFAULT '',                              -- of the card
    label TEXT NOT NULL DEFAULT '',
    purpose TEXT NOT NULL DEFAULT 'private',
    how TEXT NOT NULL,                                          -- card, list, free, manager
    begin_ms INTEGER NOT NULL,
    from_wh INTEGER,                                            -- the meter at the beginning
    end_ms INTEGER,                                             -- NULL while it runs
    energy_wh INTEGER NOT NULL DEFAULT 0,                       -- by the charger's meter
    duration_s INTEGER,
    why TEXT NOT NULL DEFAULT '',                               -- it ended
    seen_ms INTEGER NOT NULL,                                   -- the newest reading in its quarter hours
    spread_wh INTEGER NOT NULL DEFAULT 0,                       -- taken while nobody listened: when is a guess
    bill TEXT REFERENCES bill (number),                         -- the one in force that it stands on
    UNIQUE (charger, era, number)
) STRICT;
CREATE INDEX session_by_end ON session (end_ms);
CREATE INDEX session_by_user ON session (user, begin_ms);

-- What a session took in each quarter hour; for a finished one they add up to its energy.
CREATE TABLE quarter (
    session INTEGER NOT NULL REFERENCES session (id),
    start_s INTEGER NOT NULL CHECK (start_s % 900 = 0),
    energy_wh INTEGER NOT NULL,
    solar_mwh INTEGER NOT NULL,                                 -- of it from the roof, thousandths
    charging_ms INTEGER NOT NULL,
    idle_ms INTEGER NOT NULL,
    PRIMARY KEY (session, start_s)
) STRICT, WITHOUT ROWID;

CREATE TABLE tariff (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    valid_from_s INTEGER NOT NULL,
    valid_to_s INTEGER,                                         -- NULL: until another begins
    body TEXT NOT NULL,                                         -- JSON, see manager.tariff_data
    CHECK (valid_to_s > valid_from_s)
) STRICT;

-- Day-ahead prices by quarter hour, in millionths of the currency per kWh.
CREATE TABLE spot (
    area TEXT NOT NULL,
    start_s INTEGER NOT NULL,
    price_u INTEGER NOT NULL,
    PRIMARY KEY (area, start_s)
) STRICT, WITHOUT ROWID;

-- Bills and credit notes, never changed. Each series is numbered 1, 2, 3, .. without a gap.
CREATE TABLE bill (
    number TEXT PRIMARY KEY,
    series TEXT NOT NULL,
    n INTEGER NOT NULL CHECK (n > 0),
    user TEXT NOT NULL,
    name TEXT NOT NULL,                                         -- of the user, as it was
    month TEXT NOT NULL,
    currency TEXT NOT NULL,
    net INTEGER NOT NULL,
    total INTEGER NOT NULL,
    credits TEXT UNIQUE REFERENCES bill (number),               -- the bill that this note undoes
    why TEXT NOT NULL DEFAULT '',
    made_ms INTEGER NOT NULL,
    body TEXT NOT NULL,                                         -- JSON: every item and line
    UNIQUE (series, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX bill_by_user ON bill (user, month);
CREATE TRIGGER bill_stays BEFORE UPDATE ON bill BEGIN SELECT raise(ABORT, 'a bill is never changed'); END;
CREATE TRIGGER bill_is_kept BEFORE DELETE ON bill BEGIN SELECT raise(ABORT, 'a bill is never deleted'); END;
