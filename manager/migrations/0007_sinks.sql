-- How far each sink has got in the outbox: a row goes when all of them have it.
CREATE TABLE sink (
    name TEXT PRIMARY KEY,
    n INTEGER NOT NULL                       -- of the last row it has
) STRICT, WITHOUT ROWID;
-- What waits already waits for the fog: until now there was nobody else.
INSERT INTO sink (name, n) VALUES ('fog', 0);
