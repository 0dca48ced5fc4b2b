"""Sites, devices, what they measured, and where in Kafka that came from."""

from alembic import op

revision = "0001"
down_revision = None

ROLES = """
DO $$ BEGIN
  -- The fog's workers write for every site; the API's connections see what row-level security lets their user see.
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ievcc_fog') THEN CREATE ROLE ievcc_fog LOGIN BYPASSRLS; END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ievcc_api') THEN CREATE ROLE ievcc_api LOGIN; END IF;
END $$;
"""

TABLES = """
CREATE TABLE region (
    id serial PRIMARY KEY,
    name text NOT NULL UNIQUE
);
CREATE TABLE feeder (                        -- a cable or transformer of the grid
    id serial PRIMARY KEY,
    region_id int NOT NULL REFERENCES region,
    name text NOT NULL UNIQUE,
    limit_w int NOT NULL CHECK (limit_w > 0)
);
CREATE TABLE site (
    id serial PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name ~ '^[A-Za-z0-9_-]{1,24}$'),
    title text NOT NULL DEFAULT '',
    feeder_id int REFERENCES feeder,
    timezone text NOT NULL DEFAULT 'Europe/Madrid',
    limit_a int NOT NULL DEFAULT 0,
    phases smallint NOT NULL DEFAULT 1 CHECK (phases BETWEEN 1 AND 3),
    key_version int NOT NULL DEFAULT 1,      -- raising it revokes the site's key
    active boolean NOT NULL DEFAULT true
);
CREATE TABLE device (
    id serial PRIMARY KEY,
    site_id int NOT NULL REFERENCES site,
    name text NOT NULL,
    kind text NOT NULL DEFAULT '' CHECK (kind IN ('', 'counter', 'charger', 'manager')),
    role text NOT NULL DEFAULT '',
    model text NOT NULL DEFAULT '',
    firmware text NOT NULL DEFAULT '',
    phases smallint NOT NULL DEFAULT 1,
    max_a int,
    first_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (site_id, name)
);
-- What the fog must know of a device to judge its next record; written with the facts it led to.
CREATE TABLE device_state (
    device_id int PRIMARY KEY REFERENCES device,
    boot int NOT NULL,
    seq bigint NOT NULL,
    first_at timestamptz,
    last_at timestamptz,
    raw_wh bigint[] NOT NULL,
    counted_wh bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE reading (
    device_id int NOT NULL,
    boot int NOT NULL,
    seq int NOT NULL,
    at timestamptz NOT NULL,
    energy_wh bigint NOT NULL,               -- the counters' sum as sent
    counted_wh bigint NOT NULL,              -- since the first reading, resets repaired
    flags smallint NOT NULL,                 -- see datahub.fog.cleanse
    session int,
    session_wh int,
    power_w1 int, current_ma1 int, voltage_dv1 smallint,
    power_w2 int, current_ma2 int, voltage_dv2 smallint,
    power_w3 int, current_ma3 int, voltage_dv3 smallint,
    PRIMARY KEY (device_id, boot, seq, at)
) PARTITION BY RANGE (at);
CREATE INDEX reading_by_time ON reading USING brin (at);
CREATE TABLE record (                        -- everything else a site sent
    device_id int NOT NULL,
    boot int NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL,
    at timestamptz NOT NULL,
    flags smallint NOT NULL,
    fields jsonb NOT NULL,
    PRIMARY KEY (device_id, boot, seq, at)
) PARTITION BY RANGE (at);
CREATE INDEX record_by_time ON record (at, kind);
CREATE TABLE minute (
    device_id int NOT NULL,
    at timestamptz NOT NULL,                 -- its beginning
    n int NOT NULL,
    energy_wh int NOT NULL,
    estimated_wh int NOT NULL,               -- the part that fell into a gap
    power_sum_w bigint NOT NULL,
    power_max_w int,
    current_max_ma int,
    PRIMARY KEY (device_id, at)
) PARTITION BY RANGE (at);
CREATE TABLE quarter (LIKE minute INCLUDING ALL) WITH (fillfactor = 80);
CREATE INDEX quarter_by_time ON quarter (at);
CREATE TABLE gap (
    device_id int NOT NULL REFERENCES device,
    from_at timestamptz NOT NULL,
    to_at timestamptz NOT NULL,
    PRIMARY KEY (device_id, from_at)
);
CREATE TABLE session (
    device_id int NOT NULL REFERENCES device,
    number int NOT NULL,
    started_at timestamptz,
    ended_at timestamptz,
    energy_wh int,
    how text,
    why text,
    card text,                               -- a hash made in the building, never the number
    PRIMARY KEY (device_id, number)
);
CREATE INDEX session_by_time ON session (started_at);
-- How far Kafka has been read, in the same transaction as what was read.
CREATE TABLE kafka_offset (
    topic text NOT NULL,
    partition int NOT NULL,
    next bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);
"""

# Raw data go by dropping whole partitions, which costs nothing and leaves no holes.
PARTITIONS = """
CREATE FUNCTION make_partition(parent text, at timestamptz) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
  unit text := CASE WHEN parent = 'minute' THEN 'month' ELSE 'week' END;
  begins timestamptz := date_trunc(unit, at, 'UTC');
  ends timestamptz := date_trunc(unit, begins + CASE unit WHEN 'week' THEN interval '8 days' ELSE interval '40 days' END, 'UTC');
  child text := parent || '_' || to_char(begins AT TIME ZONE 'UTC', 'YYYYMMDD');
BEGIN
  IF parent NOT IN ('reading', 'record', 'minute') THEN RAISE EXCEPTION 'no partitioned table %', parent; END IF;
  IF to_regclass(child) IS NULL THEN
    PERFORM pg_advisory_xact_lock(hashtext(child));  -- two workers reach a new week at the same moment
    IF to_regclass(child) IS NULL THEN
      EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', child, parent, begins, ends);
      EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO ievcc_fog', child);
    END IF;
  END IF;
  RETURN child;
END $$;

-- Drops the partitions of one table that end before a time; returns their names.
CREATE FUNCTION drop_partitions(parent text, before timestamptz) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE child record;
BEGIN
  IF parent NOT IN ('reading', 'record', 'minute') THEN RAISE EXCEPTION 'no partitioned table %', parent; END IF;
  FOR child IN
    SELECT c.relname, (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \\(''([^'']+)''\\)'))[1]::timestamptz AS ends
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = parent::regclass
  LOOP
    IF child.ends <= before THEN
      EXECUTE format('DROP TABLE %I', child.relname);
      RETURN NEXT child.relname;
    END IF;
  END LOOP;
END $$;
REVOKE ALL ON FUNCTION make_partition, drop_partitions FROM PUBLIC;
"""

GRANTS = """
GRANT USAGE ON SCHEMA public TO ievcc_fog, ievcc_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ievcc_fog;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO ievcc_fog;
GRANT EXECUTE ON FUNCTION make_partition, drop_partitions TO ievcc_fog;
"""


def upgrade() -> None:
    """Forwards only: a backup is the way back."""
    for part in (ROLES, TABLES, PARTITIONS, GRANTS):
        op.get_bind().connection.cursor().execute(part)  # without parameters: % stays %
