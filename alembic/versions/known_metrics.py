"""Who writes to calculated_metrics past `calculate` is noted, too: what was read of it can be known to hold still."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE TRIGGER calculated_metrics_outside_writes AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE "
        "ON calculated_metrics FOR EACH STATEMENT EXECUTE FUNCTION note_outside_write()"
    )
    op.execute("ALTER TABLE calculated_metrics ENABLE ALWAYS TRIGGER calculated_metrics_outside_writes")


def downgrade() -> None:
    op.execute("DROP TRIGGER calculated_metrics_outside_writes ON calculated_metrics")
