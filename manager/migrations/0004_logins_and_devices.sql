-- Who may log in to the page. The password is kept as argon2id's own string, the login's token as a hash.
CREATE TABLE account (
    name TEXT PRIMARY KEY,
    password TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('tenant', 'operator', 'administrator')),
    user TEXT,                               -- a tenant's: whose sessions and bills are shown
    made INTEGER NOT NULL,                   -- another number with every change: logins of before are over
    CHECK (role != 'tenant' OR user IS NOT NULL)
) STRICT, WITHOUT ROWID;

CREATE TABLE login (
    token TEXT PRIMARY KEY,                  -- SHA-256 of what the browser holds
    account TEXT NOT NULL,
    made INTEGER NOT NULL,                   -- the account's when it began
    began_ms INTEGER NOT NULL,
    used_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Devices let in or sent away while the manager runs; those in the site file are not here.
CREATE TABLE device (
    id TEXT PRIMARY KEY,
    key TEXT NOT NULL,                       -- sealed (manager.vault); '' for one that does not sign
    state TEXT NOT NULL CHECK (state IN ('authorised', 'revoked')),
    at_ms INTEGER NOT NULL,
    who TEXT NOT NULL                        -- who said so
) STRICT, WITHOUT ROWID;
