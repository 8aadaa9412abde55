#!/usr/bin/env python3
"""Draws docs/entity_relationship_model.png and docs/table_diagram.png from the catalog of a live database.

    diagrams.py draw  [DATABASE]  reads the catalog and draws both pictures (without a database: one is made for it)
    diagrams.py check  DATABASE   reads the catalog and fails if a picture is not of it; needs nothing installed

A picture carries the digest of what it was drawn from (a tEXt chunk `source`): the catalog's data and diagrams.typ. So
whether a picture is current can be told on any machine, without drawing it.
"""

import argparse
import collections
import hashlib
import itertools
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import schema

ROOT = Path(__file__).resolve().parent.parent
DRAWING = Path(__file__).with_name("diagrams.typ")
PICTURES = ("entity_relationship_model", "table_diagram")
SHORT = (
    (r"timestamp(\(\d\))? without time zone", r"timestamp\1"),
    (r"timestamp(\(\d\))? with time zone", r"timestamptz\1"),
    (r"character varying", "varchar"),
    (r"character\b", "char"),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("draw", "check"))
    parser.add_argument("database", nargs="?")
    args = parser.parse_args()
    if args.what == "check":
        return check(args.database)
    database = args.database or make_database()
    for name, text in sources(schema.read(database)).items():
        draw(name, text)
    return 0


def check(database):
    old = [name for name, text in sources(schema.read(database)).items() if digest(text) != drawn_from(picture(name))]
    for name in old:
        print(f"docs/{name}.png is not of this schema: draw it again with `just diagrams`", file=sys.stderr)
    return 1 if old else 0


def sources(tables):
    """name of the picture -> the data that it is drawn from, as JSON."""
    return {name: json.dumps(show(tables), sort_keys=True) for name, show in zip(PICTURES, (model, physical))}


def make_database():
    """An empty database with the migrations and the model, as the program itself makes them."""
    name, psql = "diagrams", schema.psql
    psql("postgres", f"drop database if exists {name}")
    psql("postgres", f"create database {name}")
    where = {"host": "PEO_PG_HOST", "port": "PEO_PG_PORT", "user": "PEO_PG_USER"}
    target = " ".join(f"{key}={os.environ[variable]}" for key, variable in where.items())
    env = {"PATH": os.defpath, "TARGET": f"{target} dbname={name}"}
    subprocess.run([schema.PROGRAM, "migrate", "--model", "db/model"], cwd=ROOT, env=env, check=True)
    return name


# ---- what the pictures show, as data for diagrams.typ


def model(tables):
    """What the feed's tables are and how they relate: those with relations stand side by side as far as possible."""
    entities = {table["name"]: table for table in tables if table["schema"] != "public"}
    links = [link for link in schema.links(tables) if link[0] in entities]
    order = arrange(list(entities), links)
    return {
        "tables": [entity(entities[name], links) for name in order],
        "relations": list(relations(entities, order, links)),
    }


def arrange(names, links):
    """The order in which relations are the shortest."""

    def length(order):
        return sum(abs(order.index(link.table) - order.index(link.other)) for link in links)

    return list(min(itertools.permutations(names), key=lambda order: (length(order), order)))


def entity(table, links):
    relating = {link.column for link in links if link.table == table["name"]}
    columns = [
        {
            "name": each["name"],
            "null": each["null"],
            "key": each["name"] in table["key"],
            "relates": each["name"] in relating,
        }
        for each in table["columns"]
    ]
    return {"name": table["name"], "comment": table["comment"], "columns": columns}


def relations(entities, order, links):
    """Each with its place among those that go the same way."""
    taken = collections.Counter()
    for link in links:
        here, there = order.index(link.table), order.index(link.other)
        way = "long" if abs(here - there) > 1 else frozenset((here, there))
        comment = next(each["comment"] for each in entities[link.table]["columns"] if each["name"] == link.column)
        words = re.sub(r"\s*\(\w+\)\.?$|\.$", "", comment or "")  # the other table is seen: it need not be named
        place, taken[way] = taken[way], taken[way] + 1
        yield {
            "from": link.table, "to": link.other, "column": link.column, "words": words, "place": place,
            "long": way == "long", "rightward": here < there,
        }  # fmt: skip


def physical(tables):
    """All tables with their columns, types, keys and indexes: what is referred to, the loader's others, the feed's."""
    referred = {each["table"] for table in tables for each in table["foreign"]}
    own = [table for table in tables if table["schema"] == "public"]
    stacks = (
        [table for table in own if table["name"] in referred],
        [table for table in own if table["name"] not in referred],
        [table for table in tables if table["schema"] != "public"],
    )
    links = [
        {"from": f"l-{table['name']}-{each['columns'][0]}", "to": f"r-{each['table']}-{each['key'][0]}"}
        for table in tables
        for each in table["foreign"]
    ]
    return {"stacks": [[physical_table(table) for table in stack] for stack in stacks if stack], "links": links}


def physical_table(table):
    own = table["schema"] == "public"
    return {
        "name": table["name"],
        "title": table["name"] if own else f"{table['schema']}.{table['name']}",
        "own": own,
        "comment": table["comment"],
        "columns": [physical_column(table, column) for column in table["columns"]],
        "indexes": [{"unique": index["unique"], "words": index_words(index)} for index in table["indexes"]],
    }


def physical_column(table, column):
    foreign = {name for each in table["foreign"] for name in each["columns"]}
    marks = [mark for mark, names in (("PK", table["key"]), ("FK", foreign)) if column["name"] in names]
    return {**{key: column[key] for key in ("name", "null")}, "type": short(column["type"]), "mark": " ".join(marks)}


def index_words(index):
    """`kind = 'changes'::text` as one would write it."""
    words = f"({', '.join(index['columns'])})"
    if index["where"]:
        condition = re.sub(r"::\w+", "", index["where"])
        condition = re.sub(r"= ANY \(ARRAY\[(.*)\]\)", r"in (\1)", condition)
        words += f" where {condition.replace('IS NOT NULL', 'is not null').replace('IS NULL', 'is null')}"
    return words


def short(type_name):
    for long, brief in SHORT:
        type_name = re.sub(long, brief, type_name)
    return type_name


# ---- from text to picture


def draw(name, text):
    import wheels

    home = wheels.use()
    import io

    import typst
    from PIL import Image

    fonts = [str(home / "matplotlib" / "mpl-data" / "fonts" / "ttf")]
    inputs = {"picture": name, "data": text}
    drawn = typst.compile(str(DRAWING), format="png", ppi=192, font_paths=fonts, sys_inputs=inputs)
    small = io.BytesIO()
    # few colours are in it: a third of the bytes, and nothing to be seen of it
    Image.open(io.BytesIO(drawn)).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(
        small, "PNG", optimize=True
    )
    picture(name).write_bytes(signed(small.getvalue(), digest(text)))
    print(f"docs/{name}.png: {picture(name).stat().st_size:,} bytes")


def picture(name):
    return ROOT / "docs" / f"{name}.png"


def digest(text):
    return hashlib.sha256(DRAWING.read_bytes() + text.encode()).hexdigest()


KEYWORD = b"source\0"
HEADER = 8 + 25  # the signature and the chunk IHDR


def signed(png, source):
    """The picture with a tEXt chunk behind its header that says what it was drawn from."""
    body = b"tEXt" + KEYWORD + f"sha256:{source}".encode()
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:HEADER] + chunk + png[HEADER:]


def drawn_from(path):
    """The digest that a picture carries; None without one."""
    if not path.exists():
        return None
    match = re.search(rb"tEXt" + KEYWORD + rb"sha256:([0-9a-f]{64})", path.read_bytes()[:256])
    return match and match[1].decode()


if __name__ == "__main__":
    sys.exit(main())
