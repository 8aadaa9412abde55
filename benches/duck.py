"""What a hand with DuckDB does: `load` inserts a CSV file into a Postgres table, `diff` makes the table equal to the file.

Run by load.py with a Python that has duckdb and duckdb-extension-postgres-scanner of one version.
"""

import pathlib
import sys

import duckdb
import duckdb_extension_postgres_scanner

TYPES = {
    "event_id": "bigint", "order_id": "bigint", "kind": "varchar", "quantity": "decimal(18,4)",
    "price": "decimal(18,6)", "happened_at": "timestamp", "note": "varchar",
}


def main(what, file, dsn):
    db = duckdb.connect(config={"threads": 2})
    folder = pathlib.Path(duckdb_extension_postgres_scanner.__file__).parent / "extensions"
    db.execute(f"load '{next(folder.rglob('*.duckdb_extension'))}'; attach '{dsn}' as pg (type postgres)")
    rows = f"read_csv('{file}', header = false, nullstr = 'NULL', columns = {TYPES})"
    if what == "load":
        db.execute(f"insert into pg.dbo.entity_2 select * from {rows}")
        return
    db.execute(f"create temp table new as select * from {rows}; create temp table old as select * from pg.dbo.entity_2")
    same = " and ".join(f"new.{column} is not distinct from old.{column}" for column in list(TYPES)[1:])
    db.execute(f"create temp table put as select new.* from new left join old using (event_id) where old.event_id is null or not ({same})")
    db.execute(
        f"create temp table gone as select old.event_id from old left join new using (event_id)"
        f" where new.event_id is null or not ({same})"
    )
    db.execute("begin; delete from pg.dbo.entity_2 where event_id in (select event_id from gone)")
    db.execute("insert into pg.dbo.entity_2 select * from put; commit")


if __name__ == "__main__":
    main(*sys.argv[1:])
