"""The others: psql, SQL by hand, DuckDB, Sling, one upsert after the other. Each takes a file and gives a sample."""

import hashlib
import pathlib
import shutil
import subprocess
import sys

import measure
from world import COLUMNS, ROOT, TABLE

PINS = pathlib.Path(__file__).with_name("peers.txt")
HOME = ROOT / ".tools" / "peers"
SLING = "sling_linux_amd64/bin/sling-linux-amd64"


def install():
    """A folder with what peers.txt pins, made once; its Python."""
    stamp = hashlib.sha256(PINS.read_bytes()).hexdigest()
    python = HOME / "bin" / "python3"
    if (HOME / "stamp").exists() and (HOME / "stamp").read_text() == stamp:
        return python
    measure.say("installing the peers into .tools/peers (once)")
    shutil.rmtree(HOME, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(HOME)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--only-binary", ":all:", "-r", str(PINS)], check=True)
    (HOME / "stamp").write_text(stamp)
    return python


def versions():
    """name → version, as pinned."""
    lines = [line.split(";")[0].strip() for line in PINS.read_text().splitlines() if "==" in line]
    return dict(line.split("==") for line in lines)


def sling():
    """Sling's binary; none on a machine that there is no wheel for."""
    return next(HOME.glob(f"lib/python*/site-packages/{SLING}"), None)


def copy(world, file, table=TABLE):
    """zcat | psql \\copy."""
    script = f"\\copy {table} from program 'zcat {file}' csv null 'NULL'"
    return measure.run([*world.psql(), "-c", script])


def binary(world, file, table=TABLE):
    """The rows as they are sent in the end, made beforehand: what remains is Postgres' part."""
    return measure.run([*world.psql(), "-c", f"\\copy {table} from '{file}' (format binary)"])


def stream_out(world, table=TABLE, key=COLUMNS[0]):
    """The table in key order, as a merge needs it, and nothing else."""
    script = f"\\copy (select * from {table} order by {key}) to '/dev/null' (format binary)"
    return measure.run([*world.psql(), "-c", script])


def index(world, table, key=COLUMNS[0]):
    return measure.run([*world.psql(), "-c", f"alter table {table} add primary key ({key})"])


def duck(world, what, file):
    """DuckDB with its postgres extension: `load` or `diff`; the file may be an s3:// address."""
    settings = world.settings
    s3 = [f"127.0.0.1:{settings['PEO_S3_PORT']}", settings["PEO_S3_ID"], settings["PEO_S3_KEY"]]
    return measure.run([install(), ROOT / "benches" / "duck.py", what, file, world.dsn, *s3])


def upserts(world, file, rows):
    """`insert … on conflict do update`, one statement a row, prepared, in one transaction."""
    return measure.run([install(), ROOT / "benches" / "upsert.py", file, world.dsn, rows])


def sling_load(world, file, table=TABLE):
    """Sling, mode truncate: the keyed table stays as it is. It finds the columns by a header."""
    port, user = world.settings["PEO_PG_PORT"], world.settings["PEO_PG_USER"]
    env = {
        "PEERS_PG": f"postgresql://{user}@127.0.0.1:{port}/bench?sslmode=disable",
        "SLING_DISABLE_TELEMETRY": "TRUE",
        "SLING_LOADED_AT_COLUMN": "false",
        "SLING_HOME_DIR": str(world.scratch / "sling"),
    }
    options = '{"header": true, "null_if": "NULL", "format": "csv"}'
    command = [sling(), "run", "--src-stream", f"file://{file}", "--src-options", options]
    return measure.run([*command, "--tgt-conn", "PEERS_PG", "--tgt-object", table, "--mode", "truncate"], env)


def changes_by_hand(world, file):
    """A change file: \\copy into a temporary table, the last row of each key, then delete, update, insert."""
    columns = ", ".join(COLUMNS)
    copied = f"\\copy c (op, {columns}) from program 'zcat {file}' csv null 'NULL'"
    script = f"""
        begin;
        create temp table c on commit drop as select 0::bigint as seq, 'I' as op, t.* from {TABLE} t limit 0;
        create temp sequence s; alter table c alter seq set default nextval('s');
        {copied}
        create temp table f on commit drop as select distinct on (event_id) * from c order by event_id, seq desc;
        delete from {TABLE} t using f where f.op = 'D' and t.event_id = f.event_id;
        {upsert("f", "f.op <> 'D'")}
        drop sequence s cascade;
        commit;"""
    return measure.run(world.psql(), text=script)


def reload_by_hand(world, file):
    """A full load over a table: \\copy into a temporary one, then delete, update, insert."""
    script = f"""
        begin;
        create temp table f (like {TABLE} including all) on commit drop;
        \\copy f from program 'zcat {file}' csv null 'NULL'
        analyze f;
        delete from {TABLE} t where not exists (select from f where f.event_id = t.event_id);
        {upsert("f", "true")}
        commit;"""
    return measure.run(world.psql(), text=script)


def upsert(new, which):
    """Updates what differs and inserts what is missing, from a temporary table."""
    columns = ", ".join(COLUMNS)
    mine, theirs = (", ".join(f"{side}.{column}" for column in COLUMNS[1:]) for side in ("t", new))
    return f"""
        update {TABLE} t set ({", ".join(COLUMNS[1:])}) = ({theirs}) from {new}
        where {which} and t.event_id = {new}.event_id and ({mine}) is distinct from ({theirs});
        insert into {TABLE} ({columns}) select {columns} from {new}
        where {which} and not exists (select from {TABLE} t where t.event_id = {new}.event_id);"""
