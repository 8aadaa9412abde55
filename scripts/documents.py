#!/usr/bin/env python3
"""Holds the documents to the program and to each other. Needs nothing installed.

documents.py check              links lead somewhere, the guide is current, the notebook has run, and README
                                    says what it found and names every variable
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
# Between these README has what the notebook's cell with the tag `conclusions` prints.
MARKS = "<!-- conclusions of notebooks/eda.ipynb: just notebook writes them -->\n", "<!-- end of the conclusions -->"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("check", "columns"))
    parser.add_argument("database", nargs="?")
    args = parser.parse_args()
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
    for variable in re.findall(r"(?m)^#?([A-Z_]+)=", (ROOT / "config.env.sample").read_text()):
        if f"`{variable}`" not in README.read_text():
            yield f"README.md does not name the variable {variable} of config.env.sample"


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
