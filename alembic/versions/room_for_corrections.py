"""Room on each page of ohlcv_daily: a row that changes stays on its page, and none of the indexes is touched."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE ohlcv_daily SET (fillfactor = 66)")  # half of the rows of a full page fit in again


def downgrade() -> None:
    op.execute("ALTER TABLE ohlcv_daily RESET (fillfactor)")
