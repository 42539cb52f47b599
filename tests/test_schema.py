"""The eleven given tables, read back from a migrated database, are what the schema says, and behave as it says."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from screener_data import models, schemas

# One line is one column: name, type, then what else is true of it. `ts` is a timestamp without time zone.
# Not "not null" is nullable; "indexed" is led by some index; "unique" is a unique key of its own.
TABLES = {
    "securities": """
        id serial, not null, unique, indexed
        symbol varchar(50), not null, unique, indexed
        isin varchar(12), not null, unique, indexed
        security_name varchar(255), not null
        series varchar(10)
        listing_date date
        paid_up_value numeric(15,2)
        market_lot integer
        face_value numeric(10,2)
        security_type securitytype, not null
        is_active boolean, default true, indexed
        created_at ts, default now()
        updated_at ts, default now()
        """,
    "indices": """
        id serial, not null, unique, indexed
        index_name varchar(100), not null, unique
        symbol varchar(50), not null, unique, indexed
        exchange varchar(20), default 'NSE_INDEX'
        is_active boolean, default true
        created_at ts, default now()
        updated_at ts, default now()
        """,
    "industry_classification": """
        id serial, not null, unique, indexed
        symbol varchar(50), not null, unique, indexed
        macro varchar(100)
        sector varchar(100), indexed
        industry varchar(100), indexed
        basic_industry varchar(100)
        updated_at ts, default now()
        """,
    "market_holidays": """
        id serial, not null, unique, indexed
        holiday_date date, not null, unique, indexed
        holiday_name varchar(255)
        exchange varchar(20), default 'NSE'
        created_at ts, default now()
        """,
    "ingestion_logs": """
        id bigserial, not null, unique, indexed
        source varchar(50), not null, indexed
        status varchar(20), not null
        records_fetched integer
        records_inserted integer
        records_updated integer
        records_failed integer
        errors json
        execution_time_ms integer
        timestamp ts, default now(), indexed
        """,
    "ohlcv_daily": """
        id bigserial, not null, unique, indexed
        symbol varchar(50), not null, indexed
        date date, not null, indexed
        open numeric(15,2), not null
        high numeric(15,2), not null
        low numeric(15,2), not null
        close numeric(15,2), not null
        volume bigint
        vwap numeric(15,2)
        prev_close numeric(15,2)
        change_pct numeric(8,4)
        upper_circuit numeric(15,2)
        lower_circuit numeric(15,2)
        week_52_high numeric(15,2)
        week_52_low numeric(15,2)
        created_at ts, default now()
        """,
    "market_cap_history": """
        id bigserial, not null, unique, indexed
        symbol varchar(50), not null, indexed
        date date, not null, indexed
        series varchar(10)
        security_name varchar(255)
        category varchar(50)
        last_trade_date date
        face_value numeric(10,2)
        issue_size bigint
        close_price numeric(15,2)
        market_cap numeric(20,2), not null, indexed
        created_at ts, default now()
        """,
    "calculated_metrics": """
        id bigserial, not null, unique, indexed
        symbol varchar(50), not null, indexed
        date date, not null, indexed
        rs_rating numeric(5,2)
        vars_value numeric(10,4)
        atr numeric(15,2)
        atr_pct numeric(8,4)
        stage integer
        vcp_score numeric(5,2)
        vol_20d_avg bigint
        vol_vs_avg_pct numeric(8,2)
        ma_10 numeric(15,2)
        ma_20 numeric(15,2)
        ma_50 numeric(15,2)
        ma_200 numeric(15,2)
        created_at ts, default now()
        """,
    "bulk_deals": """
        id bigserial, not null, unique, indexed
        date date, not null, indexed
        symbol varchar(50), not null, indexed
        security_name varchar(255)
        client_name varchar(255), not null
        deal_type varchar(10)
        quantity bigint, not null
        price numeric(15,2), not null
        created_at ts, default now()
        """,
    "block_deals": """
        id bigserial, not null, unique, indexed
        date date, not null, indexed
        symbol varchar(50), not null, indexed
        security_name varchar(255)
        client_name varchar(255), not null
        deal_type varchar(10)
        quantity bigint, not null
        price numeric(15,2), not null
        created_at ts, default now()
        """,
    "surveillance_measures": """
        id bigserial, not null, unique, indexed
        date date, not null, indexed
        symbol varchar(50), not null, indexed
        security_name varchar(255)
        measure_type varchar(100)
        reason varchar(500)
        created_at ts, default now()
        """,
}

# beside the single columns above
UNIQUE_TOGETHER = {
    "uq_ohlcv_symbol_date": ("ohlcv_daily", ("symbol", "date")),
    "uq_marketcap_symbol_date": ("market_cap_history", ("symbol", "date")),
    "uq_metrics_symbol_date": ("calculated_metrics", ("symbol", "date")),
}
NAMED_INDEXES = {
    "idx_ohlcv_symbol_date": "ohlcv_daily (symbol, date DESC)",
    "idx_ohlcv_date": "ohlcv_daily (date DESC)",
    "idx_marketcap_symbol_date": "market_cap_history (symbol, date DESC)",
    "idx_marketcap_date_mcap": "market_cap_history (date, market_cap DESC)",
    "idx_metrics_symbol_date": "calculated_metrics (symbol, date DESC)",
    "idx_metrics_rs_rating": "calculated_metrics (rs_rating DESC)",
    "idx_metrics_stage": "calculated_metrics (stage)",
}
NAMED_CHECKS = {
    "ck_high_gte_low": "CHECK ((high >= low))",
    "ck_open_in_range": "CHECK (((open >= low) AND (open <= high)))",
    "ck_close_in_range": "CHECK (((close >= low) AND (close <= high)))",
}
# Ours: they say no more than what the schema says in words (values in quotes), or that a number is a number.
OUR_CHECKS = {
    "ck_securities_finite",
    "ck_ohlcv_daily_finite",
    "ck_market_cap_history_finite",
    "ck_calculated_metrics_finite",
    "ck_bulk_deals_finite",
    "ck_bulk_deals_deal_type",
    "ck_block_deals_finite",
    "ck_block_deals_deal_type",
    "ck_ingestion_logs_status",
}
TO_SECURITIES = ("calculated_metrics", "industry_classification", "market_cap_history")

MODULES = {
    "security": {"Security": "securities", "Index": "indices"},
    "metadata": {
        "IndustryClassification": "industry_classification",
        "MarketHoliday": "market_holidays",
        "IngestionLog": "ingestion_logs",
    },
    "timeseries": {
        "OHLCVDaily": "ohlcv_daily",
        "MarketCapHistory": "market_cap_history",
        "CalculatedMetrics": "calculated_metrics",
    },
    "events": {
        "BulkDeal": "bulk_deals",
        "BlockDeal": "block_deals",
        "SurveillanceMeasure": "surveillance_measures",
    },
}
CLASSES = [(module, name, table) for module, classes in MODULES.items() for name, table in classes.items()]
SET_BY_DATABASE = {"id", "created_at", "updated_at"}

INSERT = (
    "INSERT INTO securities (symbol, isin, security_name, security_type) "
    "VALUES ('TEST', 'INE000000001', 'Test Company', 'EQUITY')"
)


def given(table: str) -> Iterator[tuple[str, str, set[str]]]:
    """The columns of a table as written above: name, type, what else."""
    for line in TABLES[table].strip().splitlines():
        column, *rest = line.strip().split(", ")
        name, kind = column.split(" ")
        yield name, kind, set(rest)


def columns(table: str, flag: str) -> set[str]:
    return {name for name, _, flags in given(table) if flag in flags}


def rows(engine: Engine, statement: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement), {"ours": list(TABLES)})]


# --- what the database's catalogue says


def test_columns(engine: Engine) -> None:
    """Names, types with their widths, nullability, server defaults, keys that count by themselves."""
    found: dict[str, list[str]] = {}
    for table, name, kind, not_null, default, sequence in rows(
        engine,
        """
        SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid),
            pg_get_serial_sequence(relname, attname)
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
        LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
        WHERE relnamespace = 'public'::regnamespace AND relname = ANY(:ours) AND attnum > 0 AND NOT attisdropped
        ORDER BY attnum
        """,
    ):
        kind = str(kind).replace("character varying", "varchar").replace("timestamp without time zone", "ts")
        if sequence is not None and str(default).startswith("nextval("):
            kind, default = {"integer": "serial", "bigint": "bigserial"}[kind], None
        line = f"{name} {kind}" + ", not null" * bool(not_null)
        line += f", default {str(default).partition('::')[0]}" if default else ""
        found.setdefault(str(table), []).append(line)
    flags = ("not null", "default now()", "default true", "default 'NSE'", "default 'NSE_INDEX'")
    expected = {
        table: [", ".join([f"{name} {kind}", *(f for f in flags if f in more)]) for name, kind, more in given(table)]
        for table in TABLES
    }
    assert found == expected


def test_primary_keys(engine: Engine) -> None:
    assert {(table, tuple(inspect(engine).get_pk_constraint(table)["constrained_columns"])) for table in TABLES} == {
        (table, ("id",)) for table in TABLES
    }


def test_unique_keys(engine: Engine) -> None:
    """All that are given, and no more: the same deal can truly stand twice."""
    found = rows(
        engine,
        """
        SELECT c.relname, ARRAY(SELECT pg_get_indexdef(indexrelid, k, true) FROM generate_series(1, indnkeyatts) k)
        FROM pg_index JOIN pg_class c ON c.oid = indrelid
        WHERE indisunique AND indpred IS NULL AND indisvalid AND indimmediate AND c.relname = ANY(:ours)
        """,
    )
    single = {(table, (column,)) for table in TABLES for column in columns(table, "unique")}
    assert {(table, tuple(keys)) for table, keys in found} == single | set(UNIQUE_TOGETHER.values())


def test_named_unique_constraints(engine: Engine) -> None:
    found = inspect(engine)
    named = {
        key["name"]: (table, tuple(key["column_names"]))
        for table in TABLES
        for key in found.get_unique_constraints(table)
    }
    assert named.items() >= UNIQUE_TOGETHER.items()


def test_named_indexes(engine: Engine) -> None:
    found = rows(
        engine,
        """
        SELECT i.relname, c.relname || substring(pg_get_indexdef(i.oid) FROM 'USING btree( .*)$')
        FROM pg_index JOIN pg_class i ON i.oid = indexrelid JOIN pg_class c ON c.oid = indrelid
        WHERE c.relname = ANY(:ours) AND i.relname LIKE 'idx%'
        """,
    )
    assert dict(found) == NAMED_INDEXES


def test_indexed_columns_lead_an_index(engine: Engine) -> None:
    found = rows(
        engine,
        """
        SELECT relname, attname FROM pg_index JOIN pg_class c ON c.oid = indrelid
        JOIN pg_attribute ON (attrelid, attnum) = (indrelid, indkey[0])
        WHERE indpred IS NULL AND indisvalid AND relname = ANY(:ours)
        """,
    )
    assert set(found) >= {(table, column) for table in TABLES for column in columns(table, "indexed")}


def test_checks(engine: Engine) -> None:
    found = dict(
        rows(
            engine,
            """
            SELECT conname, pg_get_constraintdef(k.oid) FROM pg_constraint k JOIN pg_class c ON c.oid = conrelid
            WHERE contype = 'c' AND convalidated AND relname = ANY(:ours)
            """,
        )
    )
    assert {name: found.get(name) for name in NAMED_CHECKS} == NAMED_CHECKS
    assert set(found) - set(NAMED_CHECKS) == OUR_CHECKS


def test_pages_have_room_for_corrections(engine: Engine) -> None:
    """A row that changes stays on its page (HOT): half of the rows of a table can, without a word to its indexes."""
    options = models.OHLCVDaily.__table__.dialect_options["postgresql"]["with"]
    with engine.begin() as connection:
        found = connection.execute(text("SELECT reloptions FROM pg_class WHERE oid = 'ohlcv_daily'::regclass"))
        assert found.scalar_one() == [f"{name}={value}" for name, value in options.items()]
        connection.execute(
            text(
                "INSERT INTO ohlcv_daily (symbol, date, open, high, low, close) "
                "SELECT 'S' || n, '2025-01-16', 100.01, 100.01, 100.01, 100.01 FROM generate_series(1, 2000) n"
            )
        )
    with engine.begin() as connection:
        connection.execute(text("UPDATE ohlcv_daily SET volume = 12345678 WHERE id % 2 = 0"))
        hot = connection.execute(text("SELECT pg_stat_get_xact_tuples_hot_updated('ohlcv_daily'::regclass)"))
        assert hot.scalar_one() > 900


def test_foreign_keys(engine: Engine) -> None:
    """Three tables follow securities.symbol; ohlcv_daily does not, as indices are not in securities."""
    found = rows(
        engine,
        """
        SELECT relname, pg_get_constraintdef(k.oid) FROM pg_constraint k JOIN pg_class c ON c.oid = conrelid
        WHERE contype = 'f' AND relname = ANY(:ours) ORDER BY relname
        """,
    )
    key = "FOREIGN KEY (symbol) REFERENCES securities(symbol) ON UPDATE CASCADE ON DELETE CASCADE"
    assert found == [(table, key) for table in TO_SECURITIES]


def test_security_type_is_an_enum(engine: Engine) -> None:
    found = rows(
        engine, "SELECT typname, enumlabel FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid ORDER BY enumsortorder"
    )
    assert found == [("securitytype", "EQUITY"), ("securitytype", "ETF")]
    assert [(kind.name, kind.value) for kind in models.SecurityType] == [("EQUITY", "EQUITY"), ("ETF", "ETF")]
    assert issubclass(models.SecurityType, str)


# --- how the tables behave under plain SQL


def run(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def insert_followers(connection: Connection) -> None:
    connection.execute(text(INSERT))
    connection.execute(text("INSERT INTO industry_classification (symbol) VALUES ('TEST')"))
    connection.execute(
        text("INSERT INTO market_cap_history (symbol, date, market_cap) VALUES ('TEST', '2025-01-16', 1)")
    )
    connection.execute(text("INSERT INTO calculated_metrics (symbol, date) VALUES ('TEST', '2025-01-16')"))
    connection.execute(
        text("INSERT INTO ohlcv_daily (symbol, date, open, high, low, close) VALUES ('TEST', '2025-01-16', 1, 1, 1, 1)")
    )


def symbols(connection: Connection, *tables: str) -> list[list[str]]:
    return [list(connection.execute(text(f"SELECT symbol FROM {table}")).scalars()) for table in tables]


def test_a_plain_insert_works_once(engine: Engine) -> None:
    run(engine, INSERT)
    with pytest.raises(IntegrityError, match="duplicate key value violates unique constraint"):
        run(engine, INSERT)
    assert rows(engine, "SELECT symbol, is_active FROM securities") == [("TEST", True)]


@pytest.mark.parametrize("column", ["symbol", "isin"])
def test_symbol_and_isin_are_unique_each(engine: Engine, column: str) -> None:
    run(engine, INSERT)
    other = {"symbol": INSERT.replace("INE000000001", "INE000000002"), "isin": INSERT.replace("'TEST'", "'OTHER'")}
    with pytest.raises(IntegrityError, match=f"Key \\({column}\\)="):
        run(engine, other[column])


def test_the_server_fills_in_what_is_left_out(engine: Engine) -> None:
    run(engine, INSERT)
    run(engine, "INSERT INTO indices (index_name, symbol) VALUES ('Nifty 50', 'NIFTY 50')")
    run(engine, "INSERT INTO market_holidays (holiday_date) VALUES ('2025-01-26')")
    just_now = "BETWEEN now()::timestamp - interval '1 minute' AND now()::timestamp"
    assert rows(engine, f"SELECT is_active, created_at {just_now}, updated_at {just_now} FROM securities") == [
        (True, True, True)
    ]
    assert rows(engine, f"SELECT is_active, exchange, created_at {just_now} FROM indices") == [
        (True, "NSE_INDEX", True)
    ]
    assert rows(engine, "SELECT exchange FROM market_holidays") == [("NSE",)]


UPDATED = [
    (models.Security, "security_name"),
    (models.Index, "exchange"),
    (models.IndustryClassification, "sector"),
]


@pytest.mark.parametrize("by", ["plain SQL", "the ORM"])
@pytest.mark.parametrize(("model", "column"), UPDATED, ids=lambda value: getattr(value, "__name__", None))
def test_an_update_moves_updated_at(engine: Engine, model: type[models.Base], column: str, by: str) -> None:
    run(engine, INSERT)
    run(engine, "INSERT INTO indices (index_name, symbol) VALUES ('Nifty 50', 'NIFTY 50')")
    run(engine, "INSERT INTO industry_classification (symbol) VALUES ('TEST')")
    with Session(engine) as session:
        before = session.query(model).one().updated_at  # type: ignore[attr-defined]
    if by == "plain SQL":
        run(engine, f"UPDATE {model.__tablename__} SET {column} = 'new'")
    else:
        with Session(engine) as session:
            setattr(session.query(model).one(), column, "new")
            session.commit()
    with Session(engine) as session:
        row = session.query(model).one()
        assert getattr(row, column) == "new"
        assert row.updated_at > before  # type: ignore[attr-defined]
        assert getattr(row, "created_at", before) == before


def test_a_rename_carries_the_tables_that_follow(engine: Engine) -> None:
    with engine.begin() as connection:
        insert_followers(connection)
        connection.execute(text("UPDATE securities SET symbol = 'NEW'"))
        assert symbols(connection, *TO_SECURITIES, "ohlcv_daily") == [["NEW"], ["NEW"], ["NEW"], ["TEST"]]


def test_a_deleted_security_takes_its_rows_along(engine: Engine) -> None:
    with engine.begin() as connection:
        insert_followers(connection)
        connection.execute(text("DELETE FROM securities"))
        assert symbols(connection, *TO_SECURITIES, "ohlcv_daily") == [[], [], [], ["TEST"]]


@pytest.mark.parametrize("table", TO_SECURITIES)
def test_a_follower_needs_its_security(engine: Engine, table: str) -> None:
    more = {"industry_classification": ("", ""), "calculated_metrics": (", date", ", '2025-01-16'")}
    names, values = more.get(table, (", date, market_cap", ", '2025-01-16', 1"))
    with pytest.raises(IntegrityError, match="violates foreign key constraint"):
        run(engine, f"INSERT INTO {table} (symbol{names}) VALUES ('NOBODY'{values})")


def test_every_numeric_column_refuses_nan(engine: Engine) -> None:
    """PostgreSQL's NaN equals itself and is greater than all numbers, so that no other check stops it."""
    taken = []
    with engine.begin() as connection:
        insert_followers(connection)
        for deals in ("bulk_deals", "block_deals"):
            connection.execute(
                text(
                    f"INSERT INTO {deals} (date, symbol, client_name, quantity, price) "
                    "VALUES ('2025-01-16', 'TEST', 'A', 1, 1)"
                )
            )
        for table in TABLES:
            for name, kind, _ in given(table):
                if kind.startswith("numeric"):
                    try:
                        with connection.begin_nested():
                            assert connection.execute(text(f"UPDATE {table} SET {name} = 'NaN'")).rowcount == 1
                    except IntegrityError as error:
                        assert 'violates check constraint "ck_' in str(error)  # noqa: PT017
                    else:
                        taken.append(f"{table}.{name}")
    assert taken == []


def test_no_errors_is_null_not_json_null(engine: Engine) -> None:
    """A workflow tool asks `WHERE errors IS NULL`."""
    with Session(engine) as session:
        session.add(models.IngestionLog(source="nse_securities", status="success", errors=None))
        session.commit()
    assert rows(engine, "SELECT errors IS NULL FROM ingestion_logs") == [(True,)]


# --- models and schemas


@pytest.mark.parametrize(("module", "name", "table"), CLASSES)
def test_model(module: str, name: str, table: str) -> None:
    model = getattr(importlib.import_module(f"screener_data.models.{module}"), name)
    assert model.__tablename__ == table
    assert getattr(models, name) is model


@pytest.mark.parametrize(("module", "name", "table"), CLASSES)
def test_schemas_hold_the_tables_columns(module: str, name: str, table: str) -> None:
    base, create, response = (getattr(schemas, name + kind) for kind in ("Base", "Create", "Response"))
    assert {base.__module__, create.__module__, response.__module__} == {f"screener_data.schemas.{module}"}
    assert issubclass(create, base)
    assert issubclass(response, base)
    assert response.model_config["from_attributes"] is True

    by_database = SET_BY_DATABASE | {name for name, kind, _ in given(table) if kind == "ts"}
    everything = {name for name, _, _ in given(table)}
    assert set(base.model_fields) == set(create.model_fields) == everything - by_database
    assert set(response.model_fields) == everything
    required = {name for name, field in create.model_fields.items() if field.is_required()}
    assert required == columns(table, "not null") - by_database
