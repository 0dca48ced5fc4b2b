"""What a person may do at a site, which devices belong there; both go down in the site's copy."""

from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = """
CREATE TABLE charging_right (                -- without a row: no limit but the charger's
    id serial PRIMARY KEY,
    site_id int NOT NULL REFERENCES site,
    person_id int NOT NULL REFERENCES person ON DELETE CASCADE,
    max_a smallint CHECK (max_a BETWEEN 6 AND 80),
    priority smallint NOT NULL DEFAULT 0 CHECK (priority BETWEEN 0 AND 9),
    quota_wh bigint CHECK (quota_wh >= 0),   -- a month
    windows jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(windows) = 'array'),  -- local times; none: always
    chargers text[] NOT NULL DEFAULT '{}',   -- by name; none: all
    UNIQUE (site_id, person_id)
);
ALTER TABLE device ADD COLUMN authorised boolean;  -- null: the site decides by its own list
"""

# The copy's version was not raised by an owner's or a time zone's change.
COPY_VERSION = """
CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON charging_right FOR EACH ROW EXECUTE FUNCTION touch_site();
CREATE TRIGGER touch AFTER UPDATE OF person_id, authorised ON device FOR EACH ROW EXECUTE FUNCTION touch_site();
CREATE FUNCTION touch_itself() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.copy_version := OLD.copy_version + 1;
  RETURN NEW;
END $$;
CREATE TRIGGER touch BEFORE UPDATE OF timezone ON site FOR EACH ROW EXECUTE FUNCTION touch_itself();
"""

SECURITY = """
ALTER TABLE charging_right ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON charging_right FOR SELECT TO ievcc_api USING (
  person_id = me() OR site_id IN (SELECT my_sites('administrator')));
CREATE FUNCTION lives_at(who int, at_site int) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS
  $$ SELECT at_site IN (SELECT my_sites('administrator'))
            AND EXISTS (SELECT FROM membership WHERE person_id = who AND site_id = at_site) $$;
CREATE POLICY made ON charging_right FOR INSERT TO ievcc_api WITH CHECK (lives_at(person_id, site_id));
CREATE POLICY changed ON charging_right FOR UPDATE TO ievcc_api
  USING (site_id IN (SELECT my_sites('administrator'))) WITH CHECK (lives_at(person_id, site_id));
CREATE POLICY ended ON charging_right FOR DELETE TO ievcc_api USING (site_id IN (SELECT my_sites('administrator')));
REVOKE ALL ON FUNCTION lives_at FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lives_at TO ievcc_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON charging_right TO ievcc_api;
GRANT UPDATE (authorised) ON device TO ievcc_api;
GRANT USAGE ON SEQUENCE charging_right_id_seq TO ievcc_api;
GRANT SELECT ON charging_right TO ievcc_fog;
"""

# Cards of people who no longer belong to the site go down no more.
COPY = """
CREATE OR REPLACE FUNCTION site_copy(which int) RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  SELECT jsonb_build_object(
    'site', s.name, 'version', s.copy_version, 'timezone', s.timezone,
    'cards', (SELECT coalesce(jsonb_agg(jsonb_build_object('hash', c.hash, 'person', c.person_id) ORDER BY c.hash), '[]')
              FROM card c JOIN person p ON p.id = c.person_id WHERE c.site_id = s.id AND c.active AND p.active
              AND EXISTS (SELECT FROM membership m WHERE m.person_id = p.id AND m.site_id = s.id)),
    'people', (SELECT coalesce(jsonb_agg(jsonb_build_object('id', p.id, 'name', p.name, 'max_a', r.max_a,
                 'priority', coalesce(r.priority, 0), 'quota_wh', r.quota_wh, 'windows', coalesce(r.windows, '[]'),
                 'chargers', coalesce(to_jsonb(r.chargers), '[]')) ORDER BY p.id), '[]')
               FROM person p LEFT JOIN charging_right r ON r.person_id = p.id AND r.site_id = s.id
               WHERE p.active AND EXISTS (SELECT FROM membership m WHERE m.person_id = p.id AND m.site_id = s.id)),
    'devices', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', d.name, 'kind', d.kind, 'person', d.person_id,
                'authorised', d.authorised) ORDER BY d.name), '[]')
                FROM device d WHERE d.site_id = s.id AND d.kind IN ('counter', 'charger')),
    'tariffs', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', t.name, 'from_s', extract(epoch FROM t.from_at)::bigint,
                'to_s', extract(epoch FROM t.to_at)::bigint, 'currency', t.currency,
                'per_kwh', t.per_kwh, 'per_session', t.per_session,
                'bands', (SELECT coalesce(jsonb_agg(jsonb_build_object('days', b.days, 'from_min', b.from_min,
                          'to_min', b.to_min, 'per_kwh', b.per_kwh) ORDER BY b.from_min, b.days), '[]')
                          FROM tariff_band b WHERE b.tariff_id = t.id))
                ORDER BY t.from_at, t.id), '[]') FROM tariff t WHERE t.site_id = s.id),
    'wishes', (SELECT coalesce(jsonb_agg(jsonb_build_object('id', w.id, 'device', d.name, 'command', w.command,
               'expires_s', extract(epoch FROM w.expires_at)::bigint) ORDER BY w.id), '[]')
               FROM wish w JOIN device d ON d.id = w.device_id
               WHERE d.site_id = s.id AND w.result IS NULL AND w.expires_at > now()))
  FROM site s WHERE s.id = which $$;
UPDATE site SET copy_version = copy_version + 1;
"""


def upgrade() -> None:
    """Forwards only: a backup is the way back."""
    for part in (TABLES, COPY_VERSION, SECURITY, COPY):
        op.get_bind().connection.cursor().execute(part)  # without parameters: % stays %
