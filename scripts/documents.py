#!/usr/bin/env python3
"""Holds the documents to the program and to each other. Needs nothing installed.

documents.py check              checks links, the guide's PDF, the notebook's run and its conclusions in README, and
                                docs/configuration.md
documents.py write              writes docs/configuration.md from config.env.sample, and the dark picture from the light one
documents.py columns DATABASE   docs/data_specification.md has the columns of a live database
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import diagrams
import guide
import schema

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks" / "eda.ipynb"
README = ROOT / "README.md"
SAMPLE = ROOT / "config.env.sample"
CONFIGURATION = ROOT / "docs" / "configuration.md"
PICTURE = ROOT / "docs" / "pictures" / "delivery.svg"
# The colours of the picture on a light page, and those on a dark one.
DARK = {
    "#1e293b": "#e2e8f0",
    "#64748b": "#94a3b8",
    "#ffffff": "#1e293b",
    "#94a3b8": "#64748b",
    "#1d4ed8": "#60a5fa",
    "#eff6ff": "#172554",
    "#f1f5f9": "#334155",
}
# Between these README has what the notebook's cell with the tag `conclusions` prints.
MARKS = "<!-- conclusions of notebooks/eda.ipynb: just notebook writes them -->\n", "<!-- end of the conclusions -->"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("check", "columns", "write"))
    parser.add_argument("database", nargs="?")
    args = parser.parse_args()
    if args.what == "write":
        for path, text in generated().items():
            path.write_text(text)
        return 0
    faults = list(columns(args.database) if args.what == "columns" else check())
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def check():
    for page in pages():
        yield from dead_links(page)
    if not guide.current():
        yield "docs/user_guide.pdf is not of this docs/user_guide.md: set it again with `just guide`"
    yield from notebook_faults(json.loads(NOTEBOOK.read_text()))
    if readme_with(conclusions(json.loads(NOTEBOOK.read_text()))) != README.read_text():
        yield "README.md does not say what notebooks/eda.ipynb found: `just notebook` writes it there"
    for path, text in generated().items():
        if not path.exists() or path.read_text() != text:
            yield f"{path.relative_to(ROOT)} is out of date: `just documents` writes it again"


def generated():
    """Every file that this script writes, with its text."""
    return {
        CONFIGURATION: configuration(SAMPLE.read_text()),
        PICTURE.with_name("delivery-dark.svg"): dark(PICTURE.read_text()),
    }


def dark(picture):
    """The picture in colours for a dark page."""
    return re.sub("|".join(DARK), lambda found: DARK[found[0]], picture)


# ---- the environment variables


def configuration(sample):
    """docs/configuration.md: a section per variable, from the comments of config.env.sample."""
    blocks = [block.splitlines() for block in sample.strip().split("\n\n")]
    head, *variables = blocks
    page = [
        "# Configuration",
        "",
        "The environment variables of `paper-engine-orders`. `./justw documents` writes this page from",
        "[config.env.sample](../config.env.sample), which can be copied to `config.env`. Flags of the command line win over the environment.",
        "",
        "Booleans are `True` or `False` (also `yes`, `no`, `1`, `0`, in any case). An empty variable means its default, except for `METRICS`. All faults are reported at",
        "once, with exit code 78. Secrets never appear in any output. In a shell, put a value with blanks into quotes:",
        "`export SOURCE='bucket_name=feed bucket_path=data'`; if it contains single quotes, into double ones: `export FEED=\"delimiter=; null=''\"`.",
        "",
        "| variable | default |",
        "|---|---|",
    ]
    for block in variables:
        page += [f"| [`{name}`](#{guide.slug(title(block))}) | {shown(value)} |" for name, value in settings(block)]
    for block in variables:
        page += ["", f"## {title(block)}", "", *described_setting(block)]
    return "\n".join(page) + "\n"


def settings(block):
    """The variables of a block, each with its default."""
    return [re.match(r"#?([A-Z_]+)=(.*)", line).groups() for line in block if re.match(r"#?[A-Z_]+=", line)]


def title(block):
    return ", ".join(name for name, _ in settings(block))


def shown(value):
    return f"`{value}`" if value else "empty"


def described_setting(block):
    """The comment of a block; lines that are set in become a table: what to write, and what it means."""
    lines = [line[1:] for line in block if line.startswith("#") and not re.match(r"#[A-Z_]+=", line)]
    text = " ".join(line.strip() for line in lines if not line.startswith("   "))
    listed = [re.split(r"  +", line.strip(), maxsplit=1) for line in lines if line.startswith("   ")]
    rows = [f"| `{word}` | {meaning} |" for word, meaning in listed]
    return [text] + (["", "| like | meaning |", "|---|---|", *rows] if rows else [])


# ---- links


def pages():
    """Every Markdown file of the repository."""
    found = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True)
    names = found.stdout.split() if found.returncode == 0 else ["README.md", *map(str, Path("docs").glob("*.md"))]
    return [ROOT / name for name in names if (ROOT / name).exists()]


def dead_links(page):
    for target in re.findall(
        r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", prose(page)
    ):
        target = next(filter(None, target))
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        if not goal.exists():
            yield f"{page.relative_to(ROOT)}: {target} is not there"
        elif anchor and goal.suffix == ".md" and anchor not in anchors(goal):
            yield f"{page.relative_to(ROOT)}: {target}: there is no such heading"


def prose(page):
    """Without what stands in fences and in backticks."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"(?ms)^ *```.*?^ *```$", "", page.read_text()))


def anchors(page):
    titles = re.findall(r"(?m)^#+ (.+)$", re.sub(r"(?ms)^```.*?^```$", "", page.read_text()))
    return {guide.slug(title) for title in titles}


# ---- the notebook


def notebook_faults(notebook):
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells, 1):
        if cell["execution_count"] != number:
            yield f"notebooks/eda.ipynb: cell {number} has not run in its turn: `just notebook` runs all of it"
        if any(output["output_type"] == "error" for output in cell["outputs"]):
            yield f"notebooks/eda.ipynb: cell {number} has failed"
    if NOTEBOOK.stat().st_size > 1_000_000:
        yield f"notebooks/eda.ipynb has {NOTEBOOK.stat().st_size:,} bytes: more than a megabyte"


def printed(cell):
    """What it says; not what its libraries say of their caches on stderr."""
    return "".join("".join(output["text"]) for output in cell["outputs"] if output.get("name") == "stdout")


def tagged(notebook, tag):
    return [cell for cell in notebook["cells"] if tag in cell["metadata"].get("tags", ())]


def conclusions(notebook):
    [cell] = tagged(notebook, "conclusions")
    return printed(cell)


def readme_with(lines):
    """README with the notebook's conclusions in their place."""
    text = README.read_text()
    begin, end = text.index(MARKS[0]) + len(MARKS[0]), text.index(MARKS[1])
    return f"{text[:begin]}\n{lines}\n{text[end:]}"


# ---- the tables of columns


def columns(database):
    page = (ROOT / "docs" / "data_specification.md").read_text()
    for table in schema.read(database):
        name = table["name"] if table["schema"] == "public" else f"{table['schema']}.{table['name']}"
        section = re.search(rf"(?ms)^## {re.escape(name)}\b.*?(?=^## |\Z)", page)
        if not section:
            yield f"docs/data_specification.md has no section on {name}"
        elif "| column |" in section[0]:
            yield from differing(name, dict(described(section[0])), dict(catalogued(table)))


def described(section):
    """name -> (type, may be null), as the page has it."""
    for name, words, null in re.findall(r"(?m)^\| `(\w+)` \| (.+?) \| (yes|no) \|", section):
        kind = re.sub(r' collate "C"|, identity|\s', "", words)
        yield name, (kind, null == "yes")


def catalogued(table):
    for column in table["columns"]:
        yield column["name"], (diagrams.short(column["type"]).replace(" ", ""), column["null"])


def differing(table, page, catalog):
    for name in sorted(page.keys() | catalog.keys()):
        if page.get(name) != catalog.get(name):
            there, here = page.get(name), catalog.get(name)
            yield f"docs/data_specification.md: {table}.{name} is {there} there and {here} in the database"


if __name__ == "__main__":
    sys.exit(main())
