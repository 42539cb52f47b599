"""What proves that a file's rows still stand as it was loaded, so that the same bytes need not be loaded again."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

#: What loads of dated files compare with; a load itself is known by load_files, all else is noted.
WATCHED = (
    "ohlcv_daily",
    "market_cap_history",
    "bulk_deals",
    "block_deals",
    "surveillance_measures",
    "symbol_history",
)


def upgrade() -> None:
    op.create_table(
        "outside_writes",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("table_name", sa.String(length=50), nullable=False),
        sa.Column("created_at", sa.DateTime(), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outside_writes")),
    )
    op.create_index(op.f("ix_outside_writes_table_name"), "outside_writes", ["table_name"], unique=False)
    # as its owner: whoever may write to a table need not know of this one
    op.execute(
        """
        CREATE FUNCTION note_outside_write() RETURNS trigger LANGUAGE plpgsql
        SECURITY DEFINER SET search_path FROM CURRENT AS $$
        BEGIN
            IF current_setting('screener.loading', true) IS DISTINCT FROM 'on' THEN
                INSERT INTO outside_writes (table_name) VALUES (TG_TABLE_NAME);
            END IF;
            RETURN NULL;
        END $$
        """
    )
    for table in WATCHED:
        op.execute(
            f"CREATE TRIGGER {table}_outside_writes AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION note_outside_write()"
        )
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_outside_writes")
    op.add_column(
        "load_files",
        sa.Column(
            "run", sa.BigInteger(), nullable=True, comment="the first load of the same run, whose lock tells it lives"
        ),
    )
    op.add_column(
        "load_files",
        sa.Column("target", sa.String(length=50), nullable=True, comment="the table that the rows went to"),
    )
    op.add_column("load_files", sa.Column("first_day", sa.Date(), nullable=True))
    op.add_column("load_files", sa.Column("last_day", sa.Date(), nullable=True))
    op.add_column(
        "load_files",
        sa.Column(
            "outside_writes", sa.BigInteger(), nullable=True, comment="as many had touched the target before this load"
        ),
    )
    op.add_column(
        "load_files",
        sa.Column("stamp", sa.Text(), nullable=True, comment="where the file lies and since when, as git sees it"),
    )
    op.add_column(
        "load_files",
        sa.Column(
            "known_from",
            sa.BigInteger(),
            nullable=True,
            comment="the load of the same bytes that these counts are from",
        ),
    )
    op.create_foreign_key(
        op.f("fk_load_files_known_from_load_files"), "load_files", "load_files", ["known_from"], ["id"]
    )
    op.create_index(op.f("ix_load_files_stamp"), "load_files", ["stamp"], unique=False)
    op.create_index(op.f("ix_load_files_known_from"), "load_files", ["known_from"], unique=False)
    op.create_index(
        "ix_load_files_changed_days",
        "load_files",
        [sa.literal_column("daterange(first_day, last_day, '[]')")],
        unique=False,
        postgresql_using="gist",
        postgresql_where=sa.text("inserted + updated > 0"),
    )


def downgrade() -> None:
    op.drop_index("ix_load_files_changed_days", table_name="load_files")
    op.drop_index(op.f("ix_load_files_known_from"), table_name="load_files")
    op.drop_index(op.f("ix_load_files_stamp"), table_name="load_files")
    op.drop_constraint(op.f("fk_load_files_known_from_load_files"), "load_files", type_="foreignkey")
    for column in ("known_from", "stamp", "outside_writes", "last_day", "first_day", "target", "run"):
        op.drop_column("load_files", column)
    for table in WATCHED:
        op.execute(f"DROP TRIGGER {table}_outside_writes ON {table}")
    op.execute("DROP FUNCTION note_outside_write()")
    op.drop_table("outside_writes")
