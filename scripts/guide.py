#!/usr/bin/env python3
"""Sets docs/user_guide.pdf from docs/user_guide.md.

    guide.py draw    reads the Markdown and writes the PDF
    guide.py check   fails if the PDF is not of this Markdown; needs nothing installed

The PDF carries the digest of what it was made from among its keywords: the Markdown and the two files that set it.
"""

import argparse
import hashlib
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
SOURCE, GUIDE = DOCS / "user_guide.md", DOCS / "user_guide.pdf"
TEMPLATE = HERE / "guide.typ"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("draw", "check"))
    if parser.parse_args().what == "draw":
        return draw()
    return 0 if current() else "docs/user_guide.pdf is not of this docs/user_guide.md: set it again with `just guide`"


def current():
    return GUIDE.exists() and f"sha256:{digest()}".encode() in GUIDE.read_bytes()


def draw():
    import wheels

    home = wheels.use()
    import typst
    from markdown_it import MarkdownIt
    from markdown_it.tree import SyntaxTreeNode

    tree = SyntaxTreeNode(MarkdownIt("commonmark").enable("table").parse(SOURCE.read_text()))
    title, *blocks = [plain(node) for node in tree.children]
    if title["type"] != "heading" or title["level"] != 0:
        sys.exit("docs/user_guide.md has to begin with its title: # …")
    guide = {"title": words(title), "blocks": blocks}
    known = {each["slug"] for each in blocks if each["type"] == "heading"}
    if lost := [link for link in links(guide["blocks"]) if link.startswith("#") and link[1:] not in known]:
        sys.exit(f"docs/user_guide.md has no heading for {', '.join(lost)}")
    inputs = {"guide": json.dumps(guide), "source": digest()}
    fonts = [str(home / "matplotlib" / "mpl-data" / "fonts" / "ttf")]
    GUIDE.write_bytes(typst.compile(str(TEMPLATE), format="pdf", sys_inputs=inputs, font_paths=fonts))
    print(f"docs/user_guide.pdf: {GUIDE.stat().st_size:,} bytes")
    return 0


def plain(node):
    """A node of the Markdown's tree as plain data, with what its type needs."""
    shown = {"type": node.type, "children": [plain(child) for child in node.children]}
    if node.type in ("text", "text_special", "code_inline", "fence", "code_block"):
        shown["content"] = node.content
    elif node.type == "link":
        shown["href"] = node.attrs["href"]
    elif node.type == "heading":
        shown |= {"level": int(node.tag[1:]) - 1, "slug": slug(words(shown))}
    elif node.type == "table":
        shown["widths"] = widths(shown)
    return shown


def words(node):
    return node.get("content", "") + "".join(words(child) for child in node["children"])


def links(nodes):
    for node in nodes:
        if node["type"] == "link":
            yield node["href"]
        yield from links(node["children"])


def slug(title):
    """A heading's anchor, as code hosts make it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def widths(table):
    """Shares of the page's width: 0 for a column as wide as its words, which are few."""
    rows = [row["children"] for part in table["children"] for row in part["children"]]
    longest = [max(len(words(row[column])) for row in rows) for column in range(len(rows[0]))]
    if sum(longest) < 80:
        return [0] * len(longest)
    return [0 if length <= 16 else min(length, 90) for length in longest]


def digest():
    return hashlib.sha256(b"".join(path.read_bytes() for path in (SOURCE, TEMPLATE, Path(__file__)))).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
