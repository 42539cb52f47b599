"""Indexes by which 500 known files are told in some milliseconds: their last load, and what changed their days since."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_load_files_changed_days", table_name="load_files")
    op.drop_index(op.f("ix_load_files_stamp"), table_name="load_files")
    op.create_index(
        "ix_load_files_stamp_log_id", "load_files", ["stamp", "log_id"], postgresql_where=sa.text("known_from IS NULL")
    )
    op.create_index(
        "ix_load_files_changed_from",
        "load_files",
        ["first_day", "log_id"],
        postgresql_where=sa.text("inserted + updated > 0"),
    )
    op.create_index(
        "ix_load_files_changed_until",
        "load_files",
        ["last_day", "log_id"],
        postgresql_where=sa.text("inserted + updated > 0 AND first_day < last_day"),
    )


def downgrade() -> None:
    op.drop_index("ix_load_files_changed_until", table_name="load_files")
    op.drop_index("ix_load_files_changed_from", table_name="load_files")
    op.drop_index("ix_load_files_stamp_log_id", table_name="load_files")
    op.create_index(op.f("ix_load_files_stamp"), "load_files", ["stamp"])
    op.create_index(
        "ix_load_files_changed_days",
        "load_files",
        [sa.literal_column("daterange(first_day, last_day, '[]')")],
        postgresql_using="gist",
        postgresql_where=sa.text("inserted + updated > 0"),
    )
