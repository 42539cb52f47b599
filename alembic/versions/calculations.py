"""Calculations: which formulas computed the metrics, of what, and their memory for the next session."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "calculations",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, comment="of the formulas"),
        sa.Column("benchmark", sa.String(length=50), nullable=False),
        sa.Column("first_day", sa.Date(), nullable=True, comment="of the stored rows"),
        sa.Column("last_day", sa.Date(), nullable=True),
        sa.Column("inserted", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("unchanged", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.BigInteger(), nullable=False),
        sa.Column(
            "seen_load", sa.BigInteger(), nullable=False, comment="every load up to this id was taken into account"
        ),
        sa.Column("outside_writes", sa.BigInteger(), nullable=False, comment="as many had touched the prices before"),
        sa.Column(
            "symbols", sa.LargeBinary(), nullable=True, comment="securities.id of each state, int32; 0 is the benchmark"
        ),
        sa.Column("ranked", sa.LargeBinary(), nullable=True, comment="which of them are rated, one byte each"),
        sa.Column("states", sa.LargeBinary(), nullable=True, comment="formulas.STATE of each"),
        sa.Column(
            "scales", sa.LargeBinary(), nullable=True, comment="what corporate actions made of prices and volumes"
        ),
        sa.Column("execution_time_ms", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calculations")),
    )
    op.execute("ALTER TABLE calculations ALTER states SET STORAGE EXTERNAL")  # numbers: to pack them gains nothing


def downgrade() -> None:
    op.drop_table("calculations")
