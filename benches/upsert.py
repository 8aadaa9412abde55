"""What a simple loader does: one `insert … on conflict do update` for each row. Run by peers.py with a Python that has psycopg."""

import csv
import gzip
import itertools
import sys

import psycopg

COLUMNS = ["event_id", "order_id", "kind", "quantity", "price", "happened_at", "note"]


def main(file, dsn, rows):
    holes = ", ".join(["%s"] * len(COLUMNS))
    sets = ", ".join(f"{column} = excluded.{column}" for column in COLUMNS[1:])
    statement = f"insert into dbo.entity_2 values ({holes}) on conflict (event_id) do update set {sets}"
    with psycopg.connect(dsn) as connection, gzip.open(file, "rt", newline="") as lines:
        for row in itertools.islice(csv.reader(lines), int(rows)):
            cells = [None if cell == "NULL" else cell for cell in row]
            connection.execute(statement, cells, prepare=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
