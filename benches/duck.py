"""What a hand with DuckDB does: `load` inserts a CSV file into a Postgres table, `diff` makes the table equal to the file.

Run by peers.py with a Python that has duckdb and its extensions httpfs and postgres_scanner, all of one version.
"""

import pathlib
import sys

import duckdb
import duckdb_extension_httpfs
import duckdb_extension_postgres_scanner

TYPES = {
    "event_id": "bigint", "order_id": "bigint", "kind": "varchar", "quantity": "decimal(18,4)",
    "price": "decimal(18,6)", "happened_at": "timestamp", "note": "varchar",
}  # fmt: skip


def main(what, file, dsn, endpoint, key_id, secret):
    db = duckdb.connect(config={"threads": 2})
    load(db, duckdb_extension_postgres_scanner)
    db.execute(f"attach '{dsn}' as pg (type postgres)")
    if file.startswith("s3:"):
        load(db, duckdb_extension_httpfs)
        db.execute(
            f"create secret (type s3, key_id '{key_id}', secret '{secret}', endpoint '{endpoint}',"
            " url_style 'path', use_ssl false, region 'us-east-1')"
        )
    rows = f"read_csv('{file}', header = false, nullstr = 'NULL', columns = {TYPES})"
    {"load": insert, "diff": diff}[what](db, rows)


def load(db, package):
    folder = pathlib.Path(package.__file__).parent / "extensions"
    db.execute(f"load '{next(folder.rglob('*.duckdb_extension'))}'")


def insert(db, rows):
    db.execute(f"insert into pg.dbo.entity_2 select * from {rows}")


def diff(db, rows):
    db.execute(f"create temp table new as select * from {rows}; create temp table old as select * from pg.dbo.entity_2")
    same = " and ".join(f"new.{column} is not distinct from old.{column}" for column in list(TYPES)[1:])
    db.execute(
        f"create temp table put as select new.* from new left join old using (event_id)"
        f" where old.event_id is null or not ({same})"
    )
    db.execute(
        f"create temp table gone as select old.event_id from old left join new using (event_id)"
        f" where new.event_id is null or not ({same})"
    )
    db.execute("begin; delete from pg.dbo.entity_2 where event_id in (select event_id from gone)")
    db.execute("insert into pg.dbo.entity_2 select * from put; commit")


if __name__ == "__main__":
    main(*sys.argv[1:])
