"""Users, cards, tariffs, bills, orders; and who may see what."""

from alembic import op

revision = "0002"
down_revision = "0001"

TABLES = """
CREATE TABLE person (
    id serial PRIMARY KEY,
    login text NOT NULL UNIQUE CHECK (login = lower(login) AND login ~ '^[^[:space:]]{1,80}$'),
    password text NOT NULL,                  -- argon2
    name text NOT NULL DEFAULT '',
    active boolean NOT NULL DEFAULT true,
    token_version int NOT NULL DEFAULT 1     -- raising it ends every session of theirs
);
CREATE TABLE membership (                    -- what a person is, and where
    person_id int NOT NULL REFERENCES person ON DELETE CASCADE,
    role text NOT NULL CHECK (role IN ('tenant', 'administrator', 'operator')),
    site_id int REFERENCES site,
    region_id int REFERENCES region,
    CHECK ((role = 'operator') = (region_id IS NOT NULL)),
    CHECK ((role = 'operator') = (site_id IS NULL)),
    UNIQUE NULLS NOT DISTINCT (person_id, role, site_id, region_id)
);
CREATE TABLE card (
    id serial PRIMARY KEY,
    site_id int NOT NULL REFERENCES site,
    person_id int NOT NULL REFERENCES person,
    hash text NOT NULL CHECK (hash ~ '^[0-9a-f]{20}$'),
    label text NOT NULL DEFAULT '',
    active boolean NOT NULL DEFAULT true,
    UNIQUE (site_id, hash)
);
ALTER TABLE device ADD COLUMN person_id int REFERENCES person;  -- a charger of one tenant's own
ALTER TABLE session ADD COLUMN person_id int REFERENCES person;
CREATE INDEX session_by_person ON session (person_id, started_at);
CREATE TABLE tariff (
    id serial PRIMARY KEY,
    site_id int NOT NULL REFERENCES site,
    name text NOT NULL,
    from_at timestamptz NOT NULL,
    to_at timestamptz,
    currency char(3) NOT NULL DEFAULT 'EUR',
    per_kwh bigint NOT NULL CHECK (per_kwh >= 0),  -- 1/10000 of the currency
    per_session bigint NOT NULL DEFAULT 0 CHECK (per_session >= 0),
    CHECK (to_at > from_at)
);
CREATE TABLE tariff_band (                   -- another price at these local times of these days
    tariff_id int NOT NULL REFERENCES tariff ON DELETE CASCADE,
    days smallint NOT NULL CHECK (days BETWEEN 1 AND 127),  -- bit 0 is Monday
    from_min smallint NOT NULL CHECK (from_min BETWEEN 0 AND 1439),
    to_min smallint NOT NULL CHECK (to_min BETWEEN 1 AND 1440),
    per_kwh bigint NOT NULL CHECK (per_kwh >= 0),
    CHECK (to_min > from_min)
);
CREATE TABLE bill (
    id serial PRIMARY KEY,
    site_id int NOT NULL REFERENCES site,
    person_id int NOT NULL REFERENCES person,
    from_at timestamptz NOT NULL,
    to_at timestamptz NOT NULL,
    currency char(3) NOT NULL,
    total bigint NOT NULL,                   -- 1/10000 of the currency
    energy_wh bigint NOT NULL,
    lines jsonb NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (site_id, person_id, from_at, to_at)
);
-- What a person asks a building to do; its manager fetches it and says what became of it.
CREATE TABLE wish (
    id bigserial PRIMARY KEY,
    device_id int NOT NULL REFERENCES device,
    person_id int NOT NULL REFERENCES person,
    command text NOT NULL CHECK (command IN ('start', 'stop')),
    made_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL DEFAULT now() + interval '5 minutes',
    result text
);
"""

# One number per site, raised whenever what its manager works from changes.
COPY_VERSION = """
ALTER TABLE site ADD COLUMN copy_version bigint NOT NULL DEFAULT 1;
CREATE FUNCTION touch_site() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE r record := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
BEGIN
  IF TG_TABLE_NAME = 'person' THEN
    UPDATE site SET copy_version = copy_version + 1
      WHERE id IN (SELECT site_id FROM card WHERE person_id = r.id UNION SELECT site_id FROM membership WHERE person_id = r.id);
  ELSIF TG_TABLE_NAME = 'tariff_band' THEN
    UPDATE site SET copy_version = copy_version + 1 WHERE id = (SELECT site_id FROM tariff WHERE id = r.tariff_id);
  ELSIF TG_TABLE_NAME = 'wish' THEN
    UPDATE site SET copy_version = copy_version + 1 WHERE id = (SELECT site_id FROM device WHERE id = r.device_id);
  ELSE
    UPDATE site SET copy_version = copy_version + 1 WHERE id = r.site_id;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON card FOR EACH ROW EXECUTE FUNCTION touch_site();
CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON membership FOR EACH ROW
  EXECUTE FUNCTION touch_site();
CREATE TRIGGER touch AFTER UPDATE OF active, name ON person FOR EACH ROW EXECUTE FUNCTION touch_site();
CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON tariff FOR EACH ROW EXECUTE FUNCTION touch_site();
CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON tariff_band FOR EACH ROW EXECUTE FUNCTION touch_site();
CREATE TRIGGER touch AFTER INSERT ON wish FOR EACH ROW EXECUTE FUNCTION touch_site();

-- A session is a person's when its card is.
CREATE FUNCTION whose_session() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
  IF NEW.person_id IS NULL THEN
    NEW.person_id := coalesce(
      (SELECT c.person_id FROM card c JOIN device d USING (site_id) WHERE d.id = NEW.device_id AND c.hash = NEW.card),
      (SELECT person_id FROM device WHERE id = NEW.device_id));
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER whose BEFORE INSERT OR UPDATE ON session FOR EACH ROW EXECUTE FUNCTION whose_session();
"""

# The API sets `ievcc.person` in each transaction; without it nothing is seen.
SECURITY = """
CREATE FUNCTION me() RETURNS int LANGUAGE sql STABLE AS
  $$ SELECT nullif(current_setting('ievcc.person', true), '')::int $$;
CREATE FUNCTION my_sites(as_role text) RETURNS SETOF int LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS
  $$ SELECT m.site_id FROM membership m JOIN person p ON p.id = m.person_id
     WHERE m.person_id = me() AND m.role = as_role AND p.active AND m.site_id IS NOT NULL $$;
CREATE FUNCTION my_feeders() RETURNS SETOF int LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS
  $$ SELECT f.id FROM membership m JOIN person p ON p.id = m.person_id JOIN feeder f USING (region_id)
     WHERE m.person_id = me() AND m.role = 'operator' AND p.active $$;
-- Devices whose measurements I may see: all of the sites I administer, and my own charger.
CREATE FUNCTION my_devices() RETURNS SETOF int LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS
  $$ SELECT id FROM device WHERE site_id IN (SELECT my_sites('administrator')) OR person_id = me() $$;

ALTER TABLE site ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON site FOR SELECT TO ievcc_api USING (
  id IN (SELECT my_sites('administrator')) OR id IN (SELECT my_sites('tenant')) OR feeder_id IN (SELECT my_feeders()));
ALTER TABLE device ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON device FOR SELECT TO ievcc_api USING (
  site_id IN (SELECT my_sites('administrator'))
  OR (site_id IN (SELECT my_sites('tenant')) AND kind = 'charger' AND (person_id IS NULL OR person_id = me())));

ALTER TABLE feeder ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON feeder FOR SELECT TO ievcc_api USING (id IN (SELECT my_feeders()));
ALTER TABLE region ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON region FOR SELECT TO ievcc_api USING (
  id IN (SELECT region_id FROM feeder));

ALTER TABLE reading ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON reading FOR SELECT TO ievcc_api USING (device_id IN (SELECT my_devices()));
ALTER TABLE record ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON record FOR SELECT TO ievcc_api USING (
  device_id IN (SELECT id FROM device WHERE site_id IN (SELECT my_sites('administrator'))));
ALTER TABLE minute ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON minute FOR SELECT TO ievcc_api USING (device_id IN (SELECT my_devices()));
ALTER TABLE quarter ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON quarter FOR SELECT TO ievcc_api USING (device_id IN (SELECT my_devices()));
ALTER TABLE gap ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON gap FOR SELECT TO ievcc_api USING (device_id IN (SELECT my_devices()));
ALTER TABLE device_state ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON device_state FOR SELECT TO ievcc_api USING (device_id IN (SELECT id FROM device));

ALTER TABLE session ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON session FOR SELECT TO ievcc_api USING (
  person_id = me() OR device_id IN (SELECT id FROM device WHERE site_id IN (SELECT my_sites('administrator'))));
ALTER TABLE person ENABLE ROW LEVEL SECURITY;
CREATE FUNCTION my_people() RETURNS SETOF int LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS
  $$ SELECT person_id FROM membership WHERE site_id IN (SELECT my_sites('administrator')) $$;
-- Nobody is drawn into a site, and so shown to its administrators, but by being added there.
CREATE POLICY changed ON device FOR UPDATE TO ievcc_api USING (site_id IN (SELECT my_sites('administrator')))
  WITH CHECK (site_id IN (SELECT my_sites('administrator')) AND (person_id IS NULL OR person_id IN (SELECT my_people())));
CREATE POLICY seen ON person FOR SELECT TO ievcc_api USING (id = me() OR id IN (SELECT my_people()));
ALTER TABLE membership ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON membership FOR SELECT TO ievcc_api USING (
  person_id = me() OR site_id IN (SELECT my_sites('administrator')));
CREATE POLICY ended ON membership FOR DELETE TO ievcc_api USING (site_id IN (SELECT my_sites('administrator')));
ALTER TABLE card ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON card FOR SELECT TO ievcc_api USING (
  person_id = me() OR site_id IN (SELECT my_sites('administrator')));
CREATE POLICY made ON card FOR INSERT TO ievcc_api WITH CHECK (
  site_id IN (SELECT my_sites('administrator')) AND person_id IN (SELECT my_people()));
CREATE POLICY changed ON card FOR UPDATE TO ievcc_api USING (site_id IN (SELECT my_sites('administrator')));
ALTER TABLE tariff ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON tariff FOR SELECT TO ievcc_api USING (
  site_id IN (SELECT my_sites('tenant')) OR site_id IN (SELECT my_sites('administrator')));
CREATE POLICY made ON tariff FOR INSERT TO ievcc_api WITH CHECK (site_id IN (SELECT my_sites('administrator')));
CREATE POLICY changed ON tariff FOR UPDATE TO ievcc_api USING (site_id IN (SELECT my_sites('administrator')));
ALTER TABLE tariff_band ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON tariff_band FOR SELECT TO ievcc_api USING (tariff_id IN (SELECT id FROM tariff));
CREATE POLICY made ON tariff_band FOR INSERT TO ievcc_api WITH CHECK (
  tariff_id IN (SELECT id FROM tariff WHERE site_id IN (SELECT my_sites('administrator'))));
ALTER TABLE bill ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON bill FOR SELECT TO ievcc_api USING (
  person_id = me() OR site_id IN (SELECT my_sites('administrator')));
CREATE POLICY made ON bill FOR INSERT TO ievcc_api WITH CHECK (site_id IN (SELECT my_sites('administrator')));
ALTER TABLE wish ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON wish FOR SELECT TO ievcc_api USING (
  person_id = me() OR device_id IN (SELECT id FROM device WHERE site_id IN (SELECT my_sites('administrator'))));
CREATE POLICY made ON wish FOR INSERT TO ievcc_api WITH CHECK (
  person_id = me() AND device_id IN (SELECT id FROM device WHERE kind = 'charger'));

-- What an operator sees: sums of feeders and sites, no person, no session, no single charger.
CREATE VIEW grid_load WITH (security_barrier) AS
  SELECT f.id AS feeder_id, s.id AS site_id, q.at, sum(q.energy_wh) FILTER (WHERE d.role = 'grid') * 4 AS grid_w,
         sum(q.energy_wh) FILTER (WHERE d.kind = 'charger') * 4 AS charging_w
  FROM feeder f JOIN site s ON s.feeder_id = f.id JOIN device d ON d.site_id = s.id JOIN quarter q ON q.device_id = d.id
  WHERE f.id IN (SELECT my_feeders())
  GROUP BY f.id, s.id, q.at;
CREATE VIEW grid_now WITH (security_barrier) AS
  SELECT f.id AS feeder_id, sum(m.power_w) FILTER (WHERE d.role = 'grid') AS grid_w,
         sum(m.power_w) FILTER (WHERE d.kind = 'charger') AS charging_w
  FROM feeder f JOIN site s ON s.feeder_id = f.id JOIN device d ON d.site_id = s.id JOIN LATERAL (
    SELECT power_sum_w / n AS power_w FROM minute WHERE device_id = d.id AND n > 0 AND at > now() - interval '3 minutes'
    ORDER BY at DESC LIMIT 1) m ON true
  WHERE f.id IN (SELECT my_feeders())
  GROUP BY f.id;

GRANT SELECT ON region, feeder, site, device, device_state, reading, record, minute, quarter, gap, session, membership,
  card, tariff, tariff_band, bill, wish, grid_load, grid_now TO ievcc_api;
GRANT SELECT (id, login, name, active) ON person TO ievcc_api;
GRANT INSERT ON card, tariff, tariff_band, bill, wish TO ievcc_api;
GRANT DELETE ON membership TO ievcc_api;
GRANT UPDATE (active, label) ON card TO ievcc_api;
GRANT UPDATE (to_at) ON tariff TO ievcc_api;
GRANT UPDATE (person_id) ON device TO ievcc_api;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO ievcc_api;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO ievcc_fog;
"""

# The only ways past the row policies, each for one purpose.
DOORS = """
CREATE FUNCTION login(who text) RETURNS TABLE (id int, password text, token_version int)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS
  $$ SELECT id, password, token_version FROM person WHERE login = lower(who) AND active $$;
CREATE FUNCTION still_valid(who int, version int) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS
  $$ SELECT EXISTS (SELECT FROM person WHERE id = who AND token_version = version AND active) $$;
CREATE FUNCTION site_key_version(site_name text) RETURNS TABLE (id int, key_version int, copy_version bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS
  $$ SELECT id, key_version, copy_version FROM site WHERE name = site_name AND active $$;
-- Everything a manager works from, as it goes down to it.
CREATE FUNCTION site_copy(which int) RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  SELECT jsonb_build_object(
    'site', s.name, 'version', s.copy_version, 'timezone', s.timezone,
    'cards', (SELECT coalesce(jsonb_agg(jsonb_build_object('hash', c.hash, 'person', c.person_id) ORDER BY c.hash), '[]')
              FROM card c JOIN person p ON p.id = c.person_id WHERE c.site_id = s.id AND c.active AND p.active),
    'people', (SELECT coalesce(jsonb_agg(DISTINCT jsonb_build_object('id', p.id, 'name', p.name)), '[]')
               FROM person p JOIN membership m ON m.person_id = p.id WHERE m.site_id = s.id AND p.active),
    'devices', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', d.name, 'kind', d.kind, 'person', d.person_id)
                ORDER BY d.name), '[]') FROM device d WHERE d.site_id = s.id AND d.kind IN ('counter', 'charger')),
    'tariffs', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', t.name, 'from_s', extract(epoch FROM t.from_at)::bigint,
                'to_s', extract(epoch FROM t.to_at)::bigint, 'per_kwh', t.per_kwh, 'per_session', t.per_session,
                'bands', (SELECT coalesce(jsonb_agg(jsonb_build_object('days', b.days, 'from_min', b.from_min,
                          'to_min', b.to_min, 'per_kwh', b.per_kwh)), '[]') FROM tariff_band b WHERE b.tariff_id = t.id))
                ORDER BY t.from_at), '[]') FROM tariff t WHERE t.site_id = s.id),
    'wishes', (SELECT coalesce(jsonb_agg(jsonb_build_object('id', w.id, 'device', d.name, 'command', w.command,
               'expires_s', extract(epoch FROM w.expires_at)::bigint) ORDER BY w.id), '[]')
               FROM wish w JOIN device d ON d.id = w.device_id
               WHERE d.site_id = s.id AND w.result IS NULL AND w.expires_at > now()))
  FROM site s WHERE s.id = which $$;
CREATE FUNCTION wish_done(which_site int, which bigint, what text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
  WITH done AS (UPDATE wish w SET result = what FROM device d WHERE w.id = which AND d.id = w.device_id
                AND d.site_id = which_site AND w.result IS NULL RETURNING 1)
  SELECT EXISTS (SELECT FROM done) $$;
-- An administrator adds a person to a site of theirs.
CREATE FUNCTION add_person(at_site int, who text, hashed text, full_name text) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE made int;
BEGIN
  IF at_site NOT IN (SELECT my_sites('administrator')) THEN RAISE insufficient_privilege; END IF;
  INSERT INTO person (login, password, name) VALUES (lower(who), hashed, full_name) RETURNING id INTO made;
  INSERT INTO membership (person_id, role, site_id) VALUES (made, 'tenant', at_site);
  RETURN made;
END $$;
REVOKE ALL ON FUNCTION login, still_valid, site_key_version, site_copy, wish_done, add_person FROM PUBLIC;
GRANT EXECUTE ON FUNCTION login, still_valid, site_key_version, site_copy, wish_done, add_person TO ievcc_api;
"""


def upgrade() -> None:
    """Forwards only: a backup is the way back."""
    for part in (TABLES, COPY_VERSION, SECURITY, DOORS):
        op.get_bind().connection.cursor().execute(part)  # without parameters: % stays %
