"""Reads the catalog of a live database, as plain data: the loader's own tables, and those that it loads (all that are
not in `public`).

How to reach the server is in the variables that services.py sets (PEO_PG_HOST and so on); psql does the asking, so that
nothing has to be installed for it.
"""

import collections
import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / (os.environ.get("CARGO_TARGET_DIR") or "target") / "release" / "paper-engine-orders"
# The program, which makes the schema: the release build unless told otherwise.
PROGRAM = os.environ.get("PEO_PROGRAM") or str(BUILT)

QUERY = """
select coalesce(json_agg(t order by t.schema, t.name), '[]') from (
    select n.nspname as schema, c.relname as name, obj_description(c.oid, 'pg_class') as comment,
        (select json_agg(json_build_object(
                'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'null', not a.attnotnull,
                'comment', col_description(c.oid, a.attnum)) order by a.attnum)
            from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
        (select json_agg(a.attname order by k.place)
            from pg_index i, unnest(i.indkey::int2[]) with ordinality k (attnum, place)
            join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
            where i.indrelid = c.oid and i.indisprimary) as key,
        (select json_agg(json_build_object('table', f.relname, 'deletes', o.confdeltype = 'c',
                'columns', (select json_agg(a.attname order by k.place)
                    from unnest(o.conkey) with ordinality k (attnum, place)
                    join pg_attribute a on a.attrelid = o.conrelid and a.attnum = k.attnum),
                'key', (select json_agg(a.attname order by k.place)
                    from unnest(o.confkey) with ordinality k (attnum, place)
                    join pg_attribute a on a.attrelid = o.confrelid and a.attnum = k.attnum)) order by o.conname)
            from pg_constraint o join pg_class f on f.oid = o.confrelid
            where o.conrelid = c.oid and o.contype = 'f') as foreign,
        (select json_agg(json_build_object('unique', i.indisunique,
                'columns', (select json_agg(pg_get_indexdef(i.indexrelid, k, true) order by k)
                    from generate_series(1, i.indnkeyatts) k),
                'where', pg_get_expr(i.indpred, i.indrelid, true)) order by x.relname)
            from pg_index i join pg_class x on x.oid = i.indexrelid
            where i.indrelid = c.oid and not i.indisprimary) as indexes
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and not c.relispartition and case when n.nspname = 'public'
        then c.relname like 'loader\\_%' else n.nspname <> 'information_schema' and n.nspname not like 'pg\\_%' end
) t
"""
EMPTY = ("columns", "key", "foreign", "indexes")


def read(database):
    """One dict a table, in the order of their names; its lists are never None."""
    tables = json.loads(psql(database, QUERY))
    for table in tables:
        table |= {name: table[name] or [] for name in EMPTY}
    return tables


def psql(database, query):
    """What one query answers."""
    where = {"-h": "PEO_PG_HOST", "-p": "PEO_PG_PORT", "-U": "PEO_PG_USER"}
    options = [word for option, name in where.items() for word in (option, os.environ[name])]
    command = [str(Path(os.environ["PEO_PG_BIN"]) / "psql"), *options, "-d", database, "-XAtq", "-v", "ON_ERROR_STOP=1"]
    return subprocess.run([*command, "-c", query], check=True, stdout=subprocess.PIPE, text=True).stdout


Link = collections.namedtuple("Link", "table column other")


def links(tables):
    """How the feed's tables relate: by foreign keys, and, as they seldom have any, by columns that bear the name of
    another table's whole key."""
    feed = [table for table in tables if table["schema"] != "public"]
    found = []
    for table in feed:
        declared = {each["columns"][0]: each["table"] for each in table["foreign"]}
        found += [Link(table["name"], column, other) for column, other in declared.items()]
        names = {column["name"] for column in table["columns"]} - declared.keys()
        keys = {other["key"][0]: other["name"] for other in feed if len(other["key"]) == 1 and other is not table}
        found += [Link(table["name"], key, other) for key, other in keys.items() if key in names]
    return found
