"""The eleven tables as given."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# plain SQL must move updated_at, too, not only the ORM
TABLES_WITH_UPDATED_AT = ("securities", "indices", "industry_classification")


def upgrade() -> None:
    op.create_table(
        "block_deals",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("symbol", sa.String(length=50), nullable=False),
        sa.Column("security_name", sa.String(length=255), nullable=True),
        sa.Column("client_name", sa.String(length=255), nullable=False),
        sa.Column("deal_type", sa.String(length=10), nullable=True),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("price", sa.Numeric(precision=15, scale=2), nullable=False),
        sa.Column("created_at", sa.DateTime(), server_default=sa.text("now()"), nullable=True),
        sa.CheckConstraint("deal_type IN ('BUY', 'SELL')", name="ck_block_deals_deal_type"),
        sa.CheckConstraint("price <> 'NaN'", name="ck_block_deals_finite"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_block_deals")),
    )
    op.create_index(op.f("ix_block_deals_date"), "block_deals", ["date"], unique=False)
    op.create_index(op.f("ix_block_deals_symbol"), "block_deals", ["symbol"], unique=False)
    op.create_table(
        "bulk_deals",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("symbol", sa.String(length=50), nullable=False),
        sa.Column("security_name", sa.String(length=255), nullable=True),
        sa.Column("client_name", sa.String(length=255), nullable=False),
        sa.Column("deal_type", sa.String(length=10), nullable=True),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("price", sa.Numeric(precision=15, scale=2), nullable=False),
        sa.Column("created_at", sa.DateTime(), server_default=sa.text("now()"), nullable=True),
        sa.CheckConstraint("deal_type IN ('BUY', 'SELL')", name="ck_bulk_deals_deal_type"),
        sa.CheckConstraint("price <> 'NaN'", name="ck_bulk_deals_finite"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bulk_deals")),
    )
    op.create_index(op.f("ix_bulk_deals_date"), "bulk_deals", ["date"], unique=False)
    op.create_index(op.f("ix_bulk_deals_symbol"), "bulk_deals", ["symbol"], unique=False)
    op.create_table(
        "indices",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("index_name", sa.String(length=100), nullable=False),
        sa.Column("symbol", sa.String(length=50), nullable=False),
        sa.Column("exchange", sa.String(length=20), server_default=sa.text("'NSE_INDEX'"), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=True),
        sa.Column("created_at", sa.DateTime(), server_default=sa.text("now()"), nullable=True),
        sa.Column("updated_at", sa.DateTime(), server_default=sa.text("now()"), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_indices")),
        sa.UniqueConstraint("index_name", name=op.f("uq_indices_index_name")),
    )
    op.create_index(op.f("ix_indices_symbol"), "indices", ["symbol"], unique=True)
    op.create_table(
        "ingestion_logs",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("source", sa.String(length=50), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("records_fetched", sa.Integer(), nullable=True),
        sa.Column("records_inserted", sa.Integer(), nullable=True),
        sa.Column("records_updated", sa.Integer(), nullable=True),
        sa.Column("records_failed", sa.Integer(), nullable=True),
        sa.Column("errors", sa.JSON(), nullable=True),
        sa.Column("execution_time_ms", sa.Integer(), nullable=True),
        sa.Column("timestamp", sa.DateTime(), server_default=sa.text("now()"), nullable=True),
        sa.CheckConstraint("status IN ('success', 'failure', 'partial')", name="ck_ingestion_logs_status"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ingestion_logs")),
    )
    op.create_index(op.f("ix_ingestion_logs_source"), "ingestion_logs", ["source"], unique=False)
    op.create_index(op.f("ix_ingestion_logs_timestamp"), "ingestion_logs", ["timestamp"], unique=False)
    op.create_table(
        "market_holidays",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("holiday_date", sa.Date(), nullable=False),
        sa.Column("holiday_name", sa.String(length=255), nullable=True),
        sa.Column("exchange", sa.String(length=20), server_default=sa.text("'NSE'"), nullable=True),
        sa.Column("created_at", sa.DateTime(), server_default=sa.text("now()"), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_market_holidays")),
    )
    op.create_index(op.f("ix_market_holidays_holiday_date"), "market_holidays", ["holiday_date"], unique=True)
    op.create_table(
        "ohlcv_daily",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("symbol", sa.String(length=50), nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("open", sa.Numeric(precision=15, scale=2), nullable=False),
        sa.Column("high", sa.Numeric(precision=15, scale=2), nullable=False),
        sa.Column("low", sa.Numeric(precision=15, scale=2), nullable=False),
        sa.Column("close", sa.Numeric(precision=15, scale=2), nullable=False),
        sa.Column("volume", sa.BigInteger(), nullable=True),
        sa.Column("vwap", sa.Numeric(precision=15, scale=2), nullable=True),
        sa.Column("prev_close", sa.Numeric(precision=15, scale=2), nullable=True),
        sa.Column("change_pct", sa.Numeric(precision=8, scale=4), nullable=True),
        sa.Column("upper_circuit", sa.Numeric(precision=15, scale=2), nullable=True),
        sa.Column("lower_circuit", sa.Numeric(precision=15, scale=2), nullable=True),
        sa.Column("week_52_high", sa.Numeric(precision=15, scale=2), nullable=True),
        sa.Column("week_52_low", sa.Numeric(precision=15, scale=2), nullable=True),
        sa.Column("created_at", sa.DateTime(), server_default=sa.text("now()"), nullable=True),
        sa.CheckConstraint(
            "open <> 'NaN' AND high <> 'NaN' AND low <> 'NaN' AND close <> 'NaN' AND vwap <> 'NaN' AND prev_close <> 'NaN' AND change_pct <> 'NaN' AND upper_circuit <> 'NaN' AND lower_circuit <> 'NaN' AND week_52_high <> 'NaN' AND week_52_low <> 'NaN'",
            name="ck_ohlcv_daily_finite",
        ),
        sa.CheckConstraint("close >= low AND close <= high", name="ck_close_in_range"),
        sa.CheckConstraint("high >= low", name="ck_high_gte_low"),
        sa.CheckConstraint("open >= low AND open <= high", name="ck_open_in_range"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ohlcv_daily")),
        sa.UniqueConstraint("symbol", "date", name="uq_ohlcv_symbol_date"),
    )
    op.create_index("idx_ohlcv_date", "ohlcv_daily", [sa.literal_column("date DESC")], unique=False)
    op.create_index("idx_ohlcv_symbol_date", "ohlcv_daily", ["symbol", sa.literal_column("date DESC")], unique=False)
    op.create_table(
        "securities",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("symbol", sa.String(length=50), nullable=False),
        sa.Column("isin", sa.String(length=12), nullable=False),
        sa.Column("security_name", sa.String(length=255), nullable=False),
        sa.Column("series", sa.String(length=10), nullable=True),
        sa.Column("listing_date", sa.Date(), nullable=True),
        sa.Column("paid_up_value", sa.Numeric(precision=15, scale=2), nullable=True),
        sa.Column("market_lot", sa.Integer(), nullable=True),
        sa.Column("face_value", sa.Numeric(precision=10, scale=2), nullable=True),
        sa.Column("security_type", sa.Enum("EQUITY", "ETF", name="securitytype"), nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=True),
        sa.Column("created_at", sa.DateTime(), server_default=sa.text("now()"), nullable=True),
        sa.Column("updated_at", sa.DateTime(), server_default=sa.text("now()"), nullable=True),
        sa.CheckConstraint("paid_up_value <> 'NaN' AND face_value <> 'NaN'", name="ck_securities_finite"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_securities")),
    )
    op.create_index(op.f("ix_securities_is_active"), "securities", ["is_active"], unique=False)
    op.create_index(op.f("ix_securities_isin"), "securities", ["isin"], unique=True)
    op.create_index(op.f("ix_securities_symbol"), "securities", ["symbol"], unique=True)
    op.create_table(
        "surveillance_measures",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("symbol", sa.String(length=50), nullable=False),
        sa.Column("security_name", sa.String(length=255), nullable=True),
        sa.Column("measure_type", sa.String(length=100), nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=True),
        sa.Column("created_at", sa.DateTime(), server_default=sa.text("now()"), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_surveillance_measures")),
    )
    op.create_index(op.f("ix_surveillance_measures_date"), "surveillance_measures", ["date"], unique=False)
    op.create_index(op.f("ix_surveillance_measures_symbol"), "surveillance_measures", ["symbol"], unique=False)
    op.create_table(
        "calculated_metrics",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("symbol", sa.String(length=50), nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("rs_rating", sa.Numeric(precision=5, scale=2), nullable=True),
        sa.Column("vars_value", sa.Numeric(precision=10, scale=4), nullable=True),
        sa.Column("atr", sa.Numeric(precision=15, scale=2), nullable=True),
        sa.Column("atr_pct", sa.Numeric(precision=8, scale=4), nullable=True),
        sa.Column("stage", sa.Integer(), nullable=True),
        sa.Column("vcp_score", sa.Numeric(precision=5, scale=2), nullable=True),
        sa.Column("vol_20d_avg", sa.BigInteger(), nullable=True),
        sa.Column("vol_vs_avg_pct", sa.Numeric(precision=8, scale=2), nullable=True),
        sa.Column("ma_10", sa.Numeric(precision=15, scale=2), nullable=True),
        sa.Column("ma_20", sa.Numeric(precision=15, scale=2), nullable=True),
        sa.Column("ma_50", sa.Numeric(precision=15, scale=2), nullable=True),
        sa.Column("ma_200", sa.Numeric(precision=15, scale=2), nullable=True),
        sa.Column("created_at", sa.DateTime(), server_default=sa.text("now()"), nullable=True),
        sa.CheckConstraint(
            "rs_rating <> 'NaN' AND vars_value <> 'NaN' AND atr <> 'NaN' AND atr_pct <> 'NaN' AND vcp_score <> 'NaN' AND vol_vs_avg_pct <> 'NaN' AND ma_10 <> 'NaN' AND ma_20 <> 'NaN' AND ma_50 <> 'NaN' AND ma_200 <> 'NaN'",
            name="ck_calculated_metrics_finite",
        ),
        sa.ForeignKeyConstraint(
            ["symbol"],
            ["securities.symbol"],
            name=op.f("fk_calculated_metrics_symbol_securities"),
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calculated_metrics")),
        sa.UniqueConstraint("symbol", "date", name="uq_metrics_symbol_date"),
    )
    op.create_index("idx_metrics_rs_rating", "calculated_metrics", [sa.literal_column("rs_rating DESC")], unique=False)
    op.create_index("idx_metrics_stage", "calculated_metrics", ["stage"], unique=False)
    op.create_index(
        "idx_metrics_symbol_date", "calculated_metrics", ["symbol", sa.literal_column("date DESC")], unique=False
    )
    op.create_index(op.f("ix_calculated_metrics_date"), "calculated_metrics", ["date"], unique=False)
    op.create_table(
        "industry_classification",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("symbol", sa.String(length=50), nullable=False),
        sa.Column("macro", sa.String(length=100), nullable=True),
        sa.Column("sector", sa.String(length=100), nullable=True),
        sa.Column("industry", sa.String(length=100), nullable=True),
        sa.Column("basic_industry", sa.String(length=100), nullable=True),
        sa.Column("updated_at", sa.DateTime(), server_default=sa.text("now()"), nullable=True),
        sa.ForeignKeyConstraint(
            ["symbol"],
            ["securities.symbol"],
            name=op.f("fk_industry_classification_symbol_securities"),
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_industry_classification")),
    )
    op.create_index(op.f("ix_industry_classification_industry"), "industry_classification", ["industry"], unique=False)
    op.create_index(op.f("ix_industry_classification_sector"), "industry_classification", ["sector"], unique=False)
    op.create_index(op.f("ix_industry_classification_symbol"), "industry_classification", ["symbol"], unique=True)
    op.create_table(
        "market_cap_history",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("symbol", sa.String(length=50), nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("series", sa.String(length=10), nullable=True),
        sa.Column("security_name", sa.String(length=255), nullable=True),
        sa.Column("category", sa.String(length=50), nullable=True),
        sa.Column("last_trade_date", sa.Date(), nullable=True),
        sa.Column("face_value", sa.Numeric(precision=10, scale=2), nullable=True),
        sa.Column("issue_size", sa.BigInteger(), nullable=True),
        sa.Column("close_price", sa.Numeric(precision=15, scale=2), nullable=True),
        sa.Column(
            "market_cap", sa.Numeric(precision=20, scale=2), nullable=False, comment="₹ crore (the file prints rupees)"
        ),
        sa.Column("created_at", sa.DateTime(), server_default=sa.text("now()"), nullable=True),
        sa.CheckConstraint(
            "face_value <> 'NaN' AND close_price <> 'NaN' AND market_cap <> 'NaN'", name="ck_market_cap_history_finite"
        ),
        sa.ForeignKeyConstraint(
            ["symbol"],
            ["securities.symbol"],
            name=op.f("fk_market_cap_history_symbol_securities"),
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_market_cap_history")),
        sa.UniqueConstraint("symbol", "date", name="uq_marketcap_symbol_date"),
    )
    op.create_index(
        "idx_marketcap_date_mcap", "market_cap_history", ["date", sa.literal_column("market_cap DESC")], unique=False
    )
    op.create_index(
        "idx_marketcap_symbol_date", "market_cap_history", ["symbol", sa.literal_column("date DESC")], unique=False
    )
    op.create_index(op.f("ix_market_cap_history_market_cap"), "market_cap_history", ["market_cap"], unique=False)
    op.execute(
        """
        CREATE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.updated_at := now();
            RETURN NEW;
        END $$
        """
    )
    for table in TABLES_WITH_UPDATED_AT:
        op.execute(
            f"CREATE TRIGGER {table}_updated_at BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION set_updated_at()"
        )


def downgrade() -> None:
    op.drop_index(op.f("ix_market_cap_history_market_cap"), table_name="market_cap_history")
    op.drop_index("idx_marketcap_symbol_date", table_name="market_cap_history")
    op.drop_index("idx_marketcap_date_mcap", table_name="market_cap_history")
    op.drop_table("market_cap_history")
    op.drop_index(op.f("ix_industry_classification_symbol"), table_name="industry_classification")
    op.drop_index(op.f("ix_industry_classification_sector"), table_name="industry_classification")
    op.drop_index(op.f("ix_industry_classification_industry"), table_name="industry_classification")
    op.drop_table("industry_classification")
    op.drop_index(op.f("ix_calculated_metrics_date"), table_name="calculated_metrics")
    op.drop_index("idx_metrics_symbol_date", table_name="calculated_metrics")
    op.drop_index("idx_metrics_stage", table_name="calculated_metrics")
    op.drop_index("idx_metrics_rs_rating", table_name="calculated_metrics")
    op.drop_table("calculated_metrics")
    op.drop_index(op.f("ix_surveillance_measures_symbol"), table_name="surveillance_measures")
    op.drop_index(op.f("ix_surveillance_measures_date"), table_name="surveillance_measures")
    op.drop_table("surveillance_measures")
    op.drop_index(op.f("ix_securities_symbol"), table_name="securities")
    op.drop_index(op.f("ix_securities_isin"), table_name="securities")
    op.drop_index(op.f("ix_securities_is_active"), table_name="securities")
    op.drop_table("securities")
    op.drop_index("idx_ohlcv_symbol_date", table_name="ohlcv_daily")
    op.drop_index("idx_ohlcv_date", table_name="ohlcv_daily")
    op.drop_table("ohlcv_daily")
    op.drop_index(op.f("ix_market_holidays_holiday_date"), table_name="market_holidays")
    op.drop_table("market_holidays")
    op.drop_index(op.f("ix_ingestion_logs_timestamp"), table_name="ingestion_logs")
    op.drop_index(op.f("ix_ingestion_logs_source"), table_name="ingestion_logs")
    op.drop_table("ingestion_logs")
    op.drop_index(op.f("ix_indices_symbol"), table_name="indices")
    op.drop_table("indices")
    op.drop_index(op.f("ix_bulk_deals_symbol"), table_name="bulk_deals")
    op.drop_index(op.f("ix_bulk_deals_date"), table_name="bulk_deals")
    op.drop_table("bulk_deals")
    op.drop_index(op.f("ix_block_deals_symbol"), table_name="block_deals")
    op.drop_index(op.f("ix_block_deals_date"), table_name="block_deals")
    op.drop_table("block_deals")
    op.execute("DROP FUNCTION set_updated_at()")
    op.execute("DROP TYPE securitytype")
