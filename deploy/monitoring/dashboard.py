#!/usr/bin/env python3
"""Writes dashboard.json, the Grafana dashboard, beside itself: panels are a line or two here and a page there, and are
laid out by what comes after what. `--check` says whether the file is current, and changes nothing.

Of what all loaders of a job see alike, like stopped tables, `max` makes one; what each counts for itself is summed.
"""

import json
import sys
from pathlib import Path

FILE = Path(__file__).with_name("dashboard.json")
DATA = {"type": "prometheus", "uid": "${datasource}"}
JOB = 'job=~"$job"'
TABLE = JOB + ', entity=~"$entity"'
# A counter's first value counts too: what a loader does first it has mostly done before it is scraped at all.
GREW = "(({0} unless {0} offset {1}) or increase({0}[{1}]))"
COLOURS = {"create": "green", "amend": "blue", "remove": "orange", "unchanged": "text", "rejected": "red"}
BAD = [(None, "green"), (1, "red")]


def grew(series, window="$__rate_interval"):
    return GREW.format(series, window)


# ---- what it shows


def panels():
    return [
        row("Is all well?"),
        stat(
            "Stopped tables",
            f"sum(max by (job, status) (paper_engine_stopped_tables{{{JOB}}}))",
            BAD,
            "Tables that wait for a person; others go on. `paper-engine-orders status` names file and line and what "
            "to do: put a better file "
            "into the bucket, or `deliveries retry`, `release` or `skip`, or `tables reload` or `accept`.",
        ),
        stat(
            "Oldest file waits",
            f"max(paper_engine_oldest_pending_age_seconds{{{TABLE}}})",
            [(None, "green"), (600, "yellow"), (1800, "red")],
            "Since its object was written to the bucket. Old and growing: something is in its table's way, see the loader's "
            "log. Old and shrinking: a backlog. Files of a stopped table do not count here.",
            "s",
        ),
        stat(
            "Objects pending",
            f"sum(max by (job) (paper_engine_pending_objects{{{JOB}}}))",
            [(None, "green"), (1000, "yellow")],
            "Listed and not loaded yet, but for files of stopped tables. While it shrinks there is nothing to do; one more "
            "loader helps if several tables wait.",
        ),
        stat(
            "Last success",
            f"max(time() - max by (job) (paper_engine_last_success_timestamp_seconds{{{JOB}}}))",
            [(None, "green"), (300, "yellow"), (900, "red")],
            "Since any loader last ended an iteration well. Usually below a minute; while a large file is loaded it "
            "grows, which is no fault. "
            "Else `/readyz` of the loader says what it cannot reach.",
            "s",
        ),
        stat(
            "Messages waiting",
            f"sum(max by (job) (paper_engine_outbox_messages{{{JOB}}}))",
            [(None, "green"), (1, "yellow"), (1000, "red")],
            "For NATS. Loading goes on and none is lost; they are sent when the broker is back. `paper-engine-orders "
            "check` tries it.",
        ),
        stat(
            "Tables missing",
            f"sum(max by (job) (paper_engine_unmapped_tables{{{JOB}}}))",
            [(None, "green"), (1, "yellow")],
            "Folders of the feed without a table. `status` names them; create the table, and they are loaded.",
        ),
        stat(
            "Tried again (1 h)",
            f"sum({grew(f'paper_engine_retries_total{{{JOB}}}', '1h')})",
            [(None, "green"), (20, "yellow"), (200, "red")],
            "Faults of the world: lost connections, locks, full disks. A few are usual. See by reason below.",
            decimals=0,
        ),
        stat(
            "Loaders",
            f"count(paper_engine_build_info{{{JOB}}})",
            [(None, "red"), (1, "green")],
            "That are scraped. None: nothing is loaded, nothing is lost.",
        ),
        row("Tables"),
        tables(),
        lines(
            "Rows by what happened to them",
            [(f"sum by (op) ({grew(f'paper_engine_rows_total{{{TABLE}}}')})", "{{op}}")],
            12,
            "Of committed deliveries. Unchanged rows were read and not written. Rejected ones were kept aside: "
            "`rejects list` shows them.",
            bars=True,
            colours=COLOURS,
        ),
        lines(
            "Deliveries by state",
            [(f"sum by (status) ({grew(f'paper_engine_deliveries_total{{{TABLE}}}')})", "{{status}}")],
            12,
            "Ledger rows written. failed, held and late stop their table: see `status`. gone (deleted before it was "
            "read) and skipped stop nothing.",
            bars=True,
            colours={
                "loaded": "green",
                "failed": "red",
                "held": "orange",
                "late": "purple",
                "skipped": "blue",
                "gone": "text",
            },
        ),
        lines(
            "How old the newest loaded file is",
            [(f"time() - max by (entity) (paper_engine_newest_loaded_timestamp_seconds{{{TABLE}}})", "{{entity}}")],
            12,
            "Now less its LastModified. A feed that is quiet grows old as well: see whether anything is pending. A "
            "line begins with a loader's first file of the table.",
            unit="s",
        ),
        lines(
            "How long the oldest pending file waits",
            [(f"max by (entity) (paper_engine_oldest_pending_age_seconds{{{TABLE}}})", "{{entity}}")],
            12,
            "Growing in step with time: nobody loads it, see the loader's log. Of a stopped table nothing counts here.",
            unit="s",
        ),
        row("Speed"),
        lines(
            "Seconds per delivery, by stage",
            [(quantile(0.5), "{{stage}}, half"), (quantile(0.95), "{{stage}}, 95 %")],
            12,
            "begin: lease and ledger (long: locks). apply: download, decode, write. seal: commit (long: the "
            "database's disk). total: these three. "
            "announce: NATS. Bounds of the histogram: 10 ms to 50 min.",
            unit="s",
        ),
        lines(
            "From the bucket",
            [(f"sum by (instance) (rate(paper_engine_bytes_total{{{JOB}}}[$__rate_interval]))", "{{instance}}")],
            6,
            "Compressed bytes received, counted when a file has been read to its end.",
            unit="Bps",
        ),
        lines(
            "Objects pending",
            [(f"max by (job) (paper_engine_pending_objects{{{JOB}}})", "{{job}}")],
            6,
            "Listed and not loaded yet.",
        ),
        row("Neighbours"),
        lines(
            "Tried again, by reason",
            [(f"sum by (reason) ({grew(f'paper_engine_retries_total{{{JOB}}}')})", "{{reason}}")],
            12,
            "source: the bucket. target: Postgres. lock: a lock on a table of the feed. deadlock, serialization: "
            "somebody else writes into it. "
            "full: Postgres' disk. spool: the loader's /tmp.",
            bars=True,
        ),
        lines(
            "Messages waiting for NATS",
            [(f"max by (job) (paper_engine_outbox_messages{{{JOB}}})", "{{job}}")],
            6,
            "They are sent in their order when the broker is back.",
        ),
        lines(
            "Stopped tables",
            [(f"max by (status) (paper_engine_stopped_tables{{{JOB}}})", "{{status}}")],
            6,
            "failed: the file or the table is at fault. held: a full load that looks wrong. late: a change file that "
            "belongs before a loaded one. emptied, changed, moved: the table is no longer what was loaded, or another feed "
            "loaded it. misread: empty texts may be nulls.",
            colours={
                "failed": "red", "held": "orange", "late": "purple",
                "emptied": "dark-red", "changed": "dark-orange", "moved": "dark-purple", "misread": "dark-blue",
            },
        ),
        row("Loaders"),
        loaders(),
        lines(
            "Memory",
            [(f"process_resident_memory_bytes{{{JOB}}}", "{{instance}}")],
            6,
            "Does not grow with files or history: about 30 MiB. What it sorts lies in /tmp: keep that on disk, in "
            "memory it counts here.",
            unit="bytes",
        ),
        lines(
            "Processor",
            [(f"rate(process_cpu_seconds_total{{{JOB}}}[$__rate_interval])", "{{instance}}")],
            6,
            "1 is one core. Idle, it takes next to nothing.",
            unit="percentunit",
        ),
    ]


def quantile(q):
    rates = f"rate(paper_engine_delivery_seconds_bucket{{{JOB}}}[$__rate_interval])"
    return f"histogram_quantile({q}, sum by (le, stage) ({rates}))"


def tables():
    """One line a table. What each query gives is a column, named after the query's letter."""
    window = "$__range"
    stops = f'paper_engine_deliveries_total{{{TABLE}, status=~"failed|held|late"}}'
    ops = [
        f"sum by (entity) ({grew(f'''paper_engine_rows_total{{{TABLE}, op={json.dumps(op)}}}''', window)})"
        for op in COLOURS
    ]
    queries = [
        f"time() - max by (entity) (max_over_time(paper_engine_newest_loaded_timestamp_seconds{{{TABLE}}}[$__range]))",
        f"max by (entity) (paper_engine_oldest_pending_age_seconds{{{TABLE}}})",
        *ops,
        f"sum by (entity) ({grew(stops, window)})",
    ]
    names = ["newest loaded file", "oldest pending file", *COLOURS, "stops"]
    seconds, count = {"unit": "dtdurations"}, {"unit": "short", "decimals": 0}
    alarm = lambda steps: {"thresholds": thresholds(steps), "custom.cellOptions": {"type": "color-text"}}
    columns = {name: count for name in names}
    columns |= {
        "newest loaded file": seconds,
        "oldest pending file": seconds | alarm([(None, "green"), (600, "yellow"), (1800, "red")]),
    }
    columns |= {"rejected": count | alarm(BAD), "stops": count | alarm(BAD)}
    about = (
        "Counts are of the time shown above. Stops: deliveries that became failed, held or late in this time, mended "
        "since or not. "
        "The newest file is the newest that was loaded in this time."
    )
    return grid("By table", queries, names, columns, "entity", 24, 9, about)


def loaders():
    queries = [
        f"max by (instance, version) (paper_engine_build_info{{{JOB}}})",
        f"time() - max by (instance) (process_start_time_seconds{{{JOB}}})",
        f"time() - max by (instance) (paper_engine_last_success_timestamp_seconds{{{JOB}}})",
        f"max by (instance) (paper_engine_last_exit_code{{{JOB}}})",
        f"max by (instance) (process_open_fds{{{JOB}}} / process_max_fds{{{JOB}}})",
    ]
    names = ["up", "runs since", "last success", "last exit code", "file descriptors"]
    columns = {
        "runs since": {"unit": "dtdurations"},
        "last success": {"unit": "dtdurations"},
        "file descriptors": {"unit": "percentunit"},
    }
    link = {"title": "Its page: deliveries, what waits and why", "url": "http://${__value.text}/", "targetBlank": True}
    columns["instance"] = {"links": [link]}
    about = (
        "One line a process. Two versions: an upgrade is under way. The name of an instance leads to its own page, "
        "if your browser can reach it. Exit code: of the last run, or as which a service's last iteration would have ended."
    )
    return grid("Instances", queries, names, columns, "instance", 12, 8, about, hidden=["up"])


# ---- how Grafana has it


def row(title):
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "size": (24, 1)}


def stat(title, expr, steps, about, unit="short", decimals=None):
    defaults = {"unit": "dtdurations" if unit == "s" else unit, "thresholds": thresholds(steps), "noValue": "–"}
    if decimals is not None:
        defaults["decimals"] = decimals
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"]},
        "colorMode": "value",
        "graphMode": "area",
        "textMode": "value",
    }
    return panel("stat", title, about, [query("A", expr, "")], defaults, options, (3, 4))


def lines(title, queries, width, about, unit="short", bars=False, colours=None):
    custom = {
        "drawStyle": "bars" if bars else "line",
        "fillOpacity": 60 if bars else 10,
        "lineWidth": 1,
        "showPoints": "never",
    }
    if bars:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    defaults = {"unit": unit, "min": 0, "custom": custom, "color": {"mode": "palette-classic"}}
    overrides = [
        by_name(name, {"color": {"mode": "fixed", "fixedColor": colour}}) for name, colour in (colours or {}).items()
    ]
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    targets = [query("ABCDEFGH"[at], expr, legend) for at, (expr, legend) in enumerate(queries)]
    return panel("timeseries", title, about, targets, defaults, options, (width, 8), overrides)


def grid(title, queries, names, columns, key, width, height, about, hidden=()):
    letters = "ABCDEFGHIJ"[: len(queries)]
    targets = [query(letter, expr, "", table=True) for letter, expr in zip(letters, queries)]
    renamed = {f"Value #{letter}": name for letter, name in zip(letters, names)}
    hide = {"Time": True} | {f"Value #{letter}": True for letter, name in zip(letters, names) if name in hidden}
    transformations = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": hide, "renameByName": renamed}},
    ]
    overrides = [by_name(name, properties) for name, properties in columns.items()]
    options = {"showHeader": True, "cellHeight": "sm", "sortBy": [{"displayName": key, "desc": False}]}
    made = panel(
        "table",
        title,
        about,
        targets,
        {"custom": {"align": "auto"}, "noValue": "–"},
        options,
        (width, height),
        overrides,
    )
    return made | {"transformations": transformations}


def panel(kind, title, about, targets, defaults, options, size, overrides=()):
    config = {"defaults": defaults, "overrides": list(overrides)}
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": DATA,
        "targets": targets,
        "fieldConfig": config,
        "options": options,
        "size": size,
    }


def query(letter, expr, legend, table=False):
    how = (
        {"instant": True, "range": False, "format": "table"}
        if table
        else {"range": True, "legendFormat": legend or "__auto"}
    )
    return {"refId": letter, "datasource": DATA, "expr": expr, "editorMode": "code"} | how


def thresholds(steps):
    return {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in steps]}


def by_name(name, properties):
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": id, "value": value} for id, value in properties.items()],
    }


def laid_out(panels):
    """Left to right, and a new line where there is no more room or a row begins."""
    x = y = tallest = 0
    for number, each in enumerate(panels, 1):
        width, height = each.pop("size")
        if x + width > 24:
            x, y, tallest = 0, y + tallest, 0
        each |= {"id": number, "gridPos": {"x": x, "y": y, "w": width, "h": height}}
        x, tallest = x + width, max(tallest, height)
    return panels


def variable(name, label, metric, refresh=2):
    query = f"label_values({metric}, {name})"
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATA,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": refresh,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def dashboard():
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1}
    alarms = {
        "name": "Alerts",
        "enable": True,
        "iconColor": "red",
        "datasource": DATA,
        "step": "60s",
        "useValueForTime": False,
        "expr": 'ALERTS{alertname=~"PaperEngine.*", alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{job}} {{entity}} {{status}} {{reason}}",
        "tagKeys": "severity",
    }
    return {
        "uid": "paper-engine-orders",
        "title": "paper-engine-orders",
        "description": "Postgres tables kept identical to a feed of files in S3. From above to below: is all well, "
        "which table, how fast, because of whom.",
        "tags": ["paper-engine", "postgres", "s3"],
        "schemaVersion": 41,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "utc",
        "templating": {
            "list": [
                source,
                variable("job", "Job", "paper_engine_build_info"),
                variable("entity", "Table", f"paper_engine_oldest_pending_age_seconds{{{JOB}}}"),
            ]
        },
        "annotations": {"list": [alarms]},
        "links": [],
        "panels": laid_out(panels()),
    }


def main():
    text = json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"
    if "--check" not in sys.argv:
        FILE.write_text(text)
    elif not FILE.exists() or FILE.read_text() != text:
        print(f"{FILE.name} is not what {Path(__file__).name} writes: run it", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
