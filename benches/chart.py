"""The picture of benchmarks.md, as SVG: what each contestant took, and how time and memory grow with the rows."""

from xml.sax.saxutils import escape

WIDTH, LABEL, LINE = 860, 300, 22
OURS, OTHERS, LIMIT, SECOND = "#2563eb", "#94a3b8", "#10b981", "#d97706"
BARS = ("first", "reload", "changes")


def draw(results):
    """The whole picture; empty if no section with bars or growth was measured."""
    panels = [(bars_height(result.tables[0]), bars, title, result) for name, (title, result) in results.items() if name in BARS]
    panels += [(GROWTH_HEIGHT, growth, title, result) for title, result in results.values() if result.growth]
    if not panels:
        return ""
    parts, top = [], 10
    for height, panel, title, result in panels:
        parts.append(f'<g transform="translate(0 {top})">{panel(title, result)}</g>')
        top += height
    style = "text{font:13px sans-serif;fill:#334155}.t{font-weight:bold;font-size:15px}"
    page = f'<rect width="{WIDTH}" height="{top}" fill="white"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}">'
    return f"{head}<style>{style}</style>{page}{''.join(parts)}</svg>\n"


def bars_height(table):
    return LINE * len(table.rows) + 60


def bars(title, result):
    """One bar a row. One that is more than four times the reference would make all others short: it is cut, with a mark."""
    table = result.tables[0]
    most = min(max(row.median() for row in table.rows), 4 * table.row(table.reference).median())
    parts = [text(10, 18, f"{title}: seconds ({table.title})", "t")]
    for number, row in enumerate(table.rows):
        y, took = 34 + number * LINE, row.median()
        width = min(took / most, 1) * (WIDTH - LABEL - 130)
        colour = LIMIT if "limit" in row.name else OURS if "**" in row.name else OTHERS
        parts.append(text(LABEL - 8, y + 13, plain(row.name), anchor="end"))
        parts.append(f'<rect x="{LABEL}" y="{y}" width="{width:.1f}" height="{LINE - 5}" fill="{colour}"/>')
        cut = " (cut)" if took > most else ""
        parts.append(text(LABEL + width + 6, y + 13, f"{took:.2f} · {table.ratio(row.name, table.reference):.2f} ×{cut}"))
    return "".join(parts)


GROWTH_HEIGHT = 330
LEFT, BOTTOM, HIGH, BROAD = 70, 280, 230, 640


def growth(title, result):
    """Seconds (full lines) and peak memory (dashed, right) over the rows; the grey line goes through the origin."""
    most = max(seconds for points in result.growth.values() for _, seconds, _ in points)
    widest = max(times for points in result.growth.values() for times, _, _ in points)
    peak = 40 if all(mib < 40 for points in result.growth.values() for _, _, mib in points) else 160
    parts = [text(10, 18, f"{title}: seconds (full) and peak MiB (dashed) over the rows", "t"), axes(most, widest, peak)]
    for number, ((work, points), colour) in enumerate(zip(result.growth.items(), (OURS, SECOND))):
        (full,) = [seconds for times, seconds, _ in points if times == 1]
        far = min(widest, most / full)
        parts.append(line([(0, 0), (far, full * far)], widest, most, OTHERS, "2 3"))
        parts.append(line([(times, seconds) for times, seconds, _ in points], widest, most, colour))
        parts.append(line([(times, mib) for times, _, mib in points], widest, peak, colour, "7 4"))
        parts.append(text(LEFT + 20, 50 + number * 18, work, colour=colour))
    return "".join(parts)


def axes(most, widest, peak):
    parts = [f'<path d="M{LEFT} {BOTTOM - HIGH}V{BOTTOM}H{LEFT + BROAD}V{BOTTOM - HIGH}" fill="none" stroke="#64748b"/>']
    for times in (0.1, 1, 10):
        parts.append(text(LEFT + times / widest * BROAD, BOTTOM + 18, f"{times:g} ×", anchor="middle"))
    for share in (0, 0.5, 1):
        y = BOTTOM - share * HIGH + 4
        parts.append(text(LEFT - 8, y, f"{share * most:.1f} s", anchor="end"))
        parts.append(text(LEFT + BROAD + 8, y, f"{share * peak:.0f} MiB"))
    return "".join(parts)


def line(points, widest, most, colour, dashes=""):
    places = [(LEFT + x / widest * BROAD, BOTTOM - y / most * HIGH) for x, y in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "" if dashes == "2 3" else "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dashed}/>{dots}'


def text(x, y, words, kind="", anchor="start", colour=""):
    more = (f' class="{kind}"' if kind else "") + (f' style="fill:{colour}"' if colour else "")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(words)}</text>'


def plain(name):
    """A row's name without what Markdown makes of it."""
    return name.replace("**", "").replace("`", "").replace("\\|", "|")
