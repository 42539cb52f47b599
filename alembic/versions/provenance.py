"""Provenance and quarantine: our own tables beside the eleven given ones."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "name_changes",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("symbol", sa.String(length=50), nullable=False),
        sa.Column("old_name", sa.String(length=255), nullable=False),
        sa.Column("new_name", sa.String(length=255), nullable=False),
        sa.Column("change_date", sa.Date(), nullable=False),
        sa.Column("created_at", sa.DateTime(), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_name_changes")),
        sa.UniqueConstraint(
            "symbol",
            "old_name",
            "new_name",
            "change_date",
            name=op.f("uq_name_changes_symbol_old_name_new_name_change_date"),
        ),
    )
    op.create_table(
        "symbol_changes",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("security_name", sa.String(length=255), nullable=True),
        sa.Column("old_symbol", sa.String(length=50), nullable=False),
        sa.Column("new_symbol", sa.String(length=50), nullable=False),
        sa.Column("change_date", sa.Date(), nullable=False),
        sa.Column("created_at", sa.DateTime(), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_symbol_changes")),
        sa.UniqueConstraint(
            "old_symbol", "new_symbol", "change_date", name=op.f("uq_symbol_changes_old_symbol_new_symbol_change_date")
        ),
    )
    op.create_index(op.f("ix_symbol_changes_new_symbol"), "symbol_changes", ["new_symbol"], unique=False)
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
    op.create_table(
        "load_files",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("log_id", sa.BigInteger(), nullable=True),
        sa.Column("source", sa.String(length=50), nullable=False),
        sa.Column("format", sa.String(length=50), nullable=True),
        sa.Column("file", sa.Text(), nullable=False, comment="as given; a zip's member after '!'"),
        sa.Column("sha256", sa.String(length=100), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(length=20), server_default=sa.text("'running'"), nullable=False),
        sa.Column("read", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("inserted", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("updated", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("unchanged", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("rejected", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("skipped", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=True),
        sa.Column("notes", sa.JSON(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("header", sa.Text(), nullable=True, comment="the file's own header row, for replays"),
        sa.Column("loader_version", sa.String(length=50), nullable=True),
        sa.Column("started_at", sa.DateTime(), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.CheckConstraint("state IN ('running', 'success', 'partial', 'failure')", name="ck_load_files_state"),
        sa.CheckConstraint("least(inserted, updated, unchanged, rejected, skipped) >= 0", name="ck_load_files_counts"),
        sa.CheckConstraint(
            "read = inserted + updated + unchanged + rejected + skipped", name="ck_load_files_nothing_is_silent"
        ),
        sa.ForeignKeyConstraint(["log_id"], ["ingestion_logs.id"], name=op.f("fk_load_files_log_id_ingestion_logs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_load_files")),
        sa.UniqueConstraint("log_id", name=op.f("uq_load_files_log_id")),
    )
    op.create_index(op.f("ix_load_files_sha256"), "load_files", ["sha256"], unique=False)
    op.create_index(op.f("ix_load_files_source"), "load_files", ["source"], unique=False)
    op.create_index(op.f("ix_load_files_state"), "load_files", ["state"], unique=False)
    op.create_table(
        "symbol_history",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("security_id", sa.Integer(), nullable=False),
        sa.Column("symbol", sa.String(length=50), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=False),
        sa.Column("created_at", sa.DateTime(), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["security_id"],
            ["securities.id"],
            name=op.f("fk_symbol_history_security_id_securities"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_symbol_history")),
        sa.UniqueConstraint(
            "security_id", "symbol", "valid_until", name=op.f("uq_symbol_history_security_id_symbol_valid_until")
        ),
    )
    op.create_index(op.f("ix_symbol_history_symbol"), "symbol_history", ["symbol"], unique=False)
    op.create_table(
        "rejects",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("load_id", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(length=50), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=100), nullable=False),
        sa.Column(
            "line", sa.Integer(), nullable=False, comment="1 is the file's first line; in JSON, the entry's place"
        ),
        sa.Column("reason", sa.String(length=50), nullable=False),
        sa.Column("column", sa.String(length=100), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.Column("symbol", sa.String(length=50), nullable=True, comment="whose arrival in securities is waited for"),
        sa.Column("waiting", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(), server_default=sa.text("now()"), nullable=False),
        sa.Column("settled_by", sa.BigInteger(), nullable=True, comment="the load that took the row in the end"),
        sa.ForeignKeyConstraint(["load_id"], ["load_files.id"], name=op.f("fk_rejects_load_id_load_files")),
        sa.ForeignKeyConstraint(["settled_by"], ["load_files.id"], name=op.f("fk_rejects_settled_by_load_files")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rejects")),
        sa.UniqueConstraint("source", "sha256", "line", name="uq_rejects_source_sha256_line"),
    )
    op.create_index(op.f("ix_rejects_load_id"), "rejects", ["load_id"], unique=False)
    op.create_index(op.f("ix_rejects_settled_by"), "rejects", ["settled_by"], unique=False)
    op.create_index(
        "ix_rejects_waiting", "rejects", ["source", "reason"], unique=False, postgresql_where=sa.text("waiting")
    )


def downgrade() -> None:
    op.drop_index("ix_rejects_waiting", table_name="rejects", postgresql_where=sa.text("waiting"))
    op.drop_index(op.f("ix_rejects_settled_by"), table_name="rejects")
    op.drop_index(op.f("ix_rejects_load_id"), table_name="rejects")
    op.drop_table("rejects")
    op.drop_index(op.f("ix_symbol_history_symbol"), table_name="symbol_history")
    op.drop_table("symbol_history")
    op.drop_index(op.f("ix_load_files_state"), table_name="load_files")
    op.drop_index(op.f("ix_load_files_source"), table_name="load_files")
    op.drop_index(op.f("ix_load_files_sha256"), table_name="load_files")
    op.drop_table("load_files")
    op.drop_table("listed_securities")
    op.drop_index(op.f("ix_symbol_changes_new_symbol"), table_name="symbol_changes")
    op.drop_table("symbol_changes")
    op.drop_table("name_changes")
