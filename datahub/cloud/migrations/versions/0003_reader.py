"""A role that reads everything but secrets, for dashboards."""

from alembic import op

revision = "0003"
down_revision = "0002"

ROLE = """
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ievcc_reader') THEN CREATE ROLE ievcc_reader LOGIN BYPASSRLS; END IF;
END $$;
GRANT USAGE ON SCHEMA public TO ievcc_reader;
GRANT SELECT ON region, feeder, site, device, device_state, reading, record, minute, quarter, gap, session, tariff, bill
  TO ievcc_reader;
"""


def upgrade() -> None:
    """Forwards only: a backup is the way back."""
    op.get_bind().connection.cursor().execute(ROLE)  # without parameters: % stays %
