"""Lists have days: who was listed and who was in an index, from when to when. They tell the names of securities, too."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "list_days",
        sa.Column("list_name", sa.String(length=50), nullable=False, comment="or an index's name"),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("told_by", sa.String(length=50), nullable=False),
        sa.PrimaryKeyConstraint("list_name", "day", name=op.f("pk_list_days")),
    )
    op.create_table(
        "listings",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("list_name", sa.String(length=50), nullable=False),
        sa.Column("symbol", sa.String(length=50), nullable=False),
        sa.Column("isin", sa.String(length=12), nullable=False),
        sa.Column("listing_date", sa.Date(), nullable=True),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=True),
        sa.Column("security_id", sa.Integer(), nullable=True),
        sa.CheckConstraint("valid_until >= valid_from", name="ck_listings_days"),
        sa.ForeignKeyConstraint(
            ["security_id"], ["securities.id"], name=op.f("fk_listings_security_id_securities"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_listings")),
        sa.UniqueConstraint(
            *("list_name", "symbol", "isin", "listing_date", "valid_from"),
            name="uq_listings_stay",
            postgresql_nulls_not_distinct=True,
        ),
    )
    for column in ("symbol", "isin", "security_id"):
        op.create_index(op.f(f"ix_listings_{column}"), "listings", [column], unique=False)
    op.create_table(
        "index_constituents",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("index_name", sa.String(length=50), nullable=False),
        sa.Column("symbol", sa.String(length=50), nullable=False),
        sa.Column("isin", sa.String(length=12), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=True),
        sa.CheckConstraint("valid_until >= valid_from", name="ck_index_constituents_days"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_index_constituents")),
        sa.UniqueConstraint("index_name", "symbol", "isin", "valid_from", name="uq_index_constituents_stay"),
    )
    for column in ("symbol", "isin"):
        op.create_index(op.f(f"ix_index_constituents_{column}"), "index_constituents", [column], unique=False)
    op.add_column("symbol_history", sa.Column("known_by", sa.String(length=50), nullable=True))
    # whoever is on a list is known to be there today; of those that left, only that they were
    op.execute(
        "INSERT INTO list_days SELECT DISTINCT list_name, (now() AT TIME ZONE 'Asia/Kolkata')::date, 'the migration' "
        "FROM listed_securities WHERE listed"
    )
    op.execute(
        "INSERT INTO listings (list_name, symbol, isin, listing_date, valid_from, security_id) "
        "SELECT l.list_name, s.symbol, s.isin, s.listing_date, (now() AT TIME ZONE 'Asia/Kolkata')::date, s.id "
        "FROM listed_securities l JOIN securities s ON s.id = l.security_id WHERE l.listed ORDER BY s.id"
    )
    op.drop_table("listed_securities")


def downgrade() -> None:
    op.create_table(
        "listed_securities",
        sa.Column("security_id", sa.Integer(), nullable=False),
        sa.Column("list_name", sa.String(length=50), nullable=False),
        sa.Column("listed", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.ForeignKeyConstraint(
            ["security_id"],
            ["securities.id"],
            name=op.f("fk_listed_securities_security_id_securities"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("security_id", "list_name", name=op.f("pk_listed_securities")),
    )
    op.execute(
        "INSERT INTO listed_securities SELECT security_id, list_name, bool_or(valid_until IS NULL) FROM listings "
        "WHERE security_id IS NOT NULL AND list_name <> 'by hand' GROUP BY security_id, list_name"
    )
    op.drop_column("symbol_history", "known_by")
    op.drop_table("index_constituents")
    op.drop_table("listings")
    op.drop_table("list_days")
