"""Corporate actions: what changes a share's number or value, and on which day."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "corporate_actions",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("symbol", sa.String(length=50), nullable=False),
        sa.Column("ex_date", sa.Date(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("shares_before", sa.Numeric(precision=15, scale=4), nullable=False),
        sa.Column("shares_after", sa.Numeric(precision=15, scale=4), nullable=False),
        sa.Column("premium", sa.Numeric(precision=15, scale=2), nullable=True),
        sa.Column("face_value", sa.Numeric(precision=10, scale=2), nullable=True),
        sa.Column("price_factor", sa.Numeric(precision=20, scale=10), nullable=True),
        sa.Column("volume_factor", sa.Numeric(precision=20, scale=10), nullable=True),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), server_default=sa.text("now()"), nullable=True),
        sa.CheckConstraint(
            "kind IN ('split', 'consolidation', 'bonus', 'rights', 'demerger', 'scheme', 'capital_reduction', "
            "'distribution', 'manual')",
            name="ck_corporate_actions_kind",
        ),
        sa.CheckConstraint("shares_before > 0 AND shares_after > 0", name="ck_corporate_actions_shares"),
        sa.CheckConstraint("premium >= 0", name="ck_corporate_actions_premium"),
        sa.CheckConstraint("face_value > 0", name="ck_corporate_actions_face_value"),
        sa.CheckConstraint("price_factor > 0 AND volume_factor > 0", name="ck_corporate_actions_factors"),
        sa.CheckConstraint(
            "(kind = 'manual') = (price_factor IS NOT NULL) AND (kind = 'manual') = (volume_factor IS NOT NULL)",
            name="ck_corporate_actions_manual",
        ),
        sa.CheckConstraint(
            "shares_before <> 'NaN' AND shares_after <> 'NaN' AND premium <> 'NaN' AND face_value <> 'NaN' "
            "AND price_factor <> 'NaN' AND volume_factor <> 'NaN'",
            name="ck_corporate_actions_finite",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_corporate_actions")),
        sa.UniqueConstraint("symbol", "ex_date", "kind", name="uq_corporate_actions_symbol_ex_date_kind"),
    )
    op.create_index(op.f("ix_corporate_actions_ex_date"), "corporate_actions", ["ex_date"], unique=False)
    op.create_index(op.f("ix_corporate_actions_symbol"), "corporate_actions", ["symbol"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_corporate_actions_symbol"), table_name="corporate_actions")
    op.drop_index(op.f("ix_corporate_actions_ex_date"), table_name="corporate_actions")
    op.drop_table("corporate_actions")
