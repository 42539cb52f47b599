"""Runs of the checks: how many faults each found, so that the next report can say what changed."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "check_runs",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("loader_version", sa.String(length=50), nullable=False),
        sa.Column("last_session", sa.Date(), nullable=True, comment="the last stored day on which securities traded"),
        sa.Column("execution_time_ms", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_check_runs")),
    )
    op.create_table(
        "check_findings",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("severity", sa.String(length=20), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("severity IN ('error', 'warning', 'info')", name="ck_check_findings_severity"),
        sa.CheckConstraint("count >= 0", name="ck_check_findings_count"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["check_runs.id"], name=op.f("fk_check_findings_run_id_check_runs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_check_findings")),
    )


def downgrade() -> None:
    op.drop_table("check_findings")
    op.drop_table("check_runs")
