#!/usr/bin/env python3
"""Writes dashboard.json, the Grafana dashboard of paper-engine-timer, beside itself. `--check` says if the file is current."""

import json
import sys
from pathlib import Path

FILE = Path(__file__).with_name("dashboard.json")
DATA = {"type": "prometheus", "uid": "${datasource}"}
JOB = 'job=~"$job"'
NAME = "paper_engine_timer_"


def rate(name, by=None):
    return f"sum{f' by ({by})' if by else ''} (rate({NAME}{name}{{{JOB}}}[$__rate_interval]))"


def quantile(part, name):
    return f"histogram_quantile({part}, {rate(f'{name}_bucket', 'le')})"


PANELS = [
    ("Fired per second", "reqps", [(rate("attempts_total", "outcome"), "{{outcome}}")],
     "Attempts by what they came to. retry is tried again; failed and refused are final and kept."),
    ("Late", "s", [(quantile(part, "late_seconds"), f"p{part * 100:g}") for part in (0.5, 0.99)],
     "From the due time to the start of the request, by the database's clock. A backlog shows here."),
    ("Open tasks", "short", [(f"max by (state) ({NAME}tasks{{{JOB}}})", "{{state}}")],
     "In the database: waiting for their time, leased by a pod, waiting for a retry, parked until their endpoint has room."),
    ("Requests under way", "short", [(f"sum by (instance) ({NAME}in_flight{{{JOB}}})", "{{instance}}")],
     "At most MAX_IN_FLIGHT for each pod. Full for long: receivers are slow."),
    ("Failures by reason", "reqps", [(rate("failures_total", "reason"), "{{reason}}")],
     "Why attempts did not succeed. docs/timer.md explains each reason."),
    ("Claimed per second", "reqps", [(rate("claimed_total", "instance"), "{{instance}}")],
     "How the pods share the work."),
    ("Database calls", "s", [(quantile(0.99, "claim_seconds"), "claim p99"), (quantile(0.99, "complete_seconds"), "complete p99")],
     "Duration of a claim, and of writing a batch of ends."),
    ("Lost leases and duplicates", "short", [
        (f"sum by (instance) (increase({NAME}lost_leases_total{{{JOB}}}[1h]))", "lost by {{instance}}"),
        (f"sum (increase({NAME}duplicates_total{{{JOB}}}[1h]))", "duplicate ids")],
     "In an hour. A lost lease means that a pod was frozen or cut off."),
    ("Removed per second", "reqps", [(rate("purged_total"), "purged")], "Ended tasks that KEEP removed."),
    ("Late when claimed", "reqps", [(rate("overdue_total"), "overdue")], "Tasks that were past due when they were claimed."),
]


def panel(number, title, unit, queries, description):
    targets = [
        {"datasource": DATA, "expr": expr, "legendFormat": legend, "refId": chr(65 + at)} for at, (expr, legend) in enumerate(queries)
    ]
    return {
        "id": number + 1, "type": "timeseries", "title": title, "description": description, "datasource": DATA, "targets": targets,
        "gridPos": {"x": 12 * (number % 2), "y": 8 * (number // 2), "w": 12, "h": 8},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": {"fillOpacity": 10}}, "overrides": []},
    }


def variable(name, kind, query, label):
    return {"name": name, "type": kind, "query": query, "label": label, "refresh": 1, "includeAll": kind == "query", "multi": kind == "query"}


def dashboard():
    job = variable("job", "query", f"label_values({NAME}build_info, job)", "Job") | {"datasource": DATA}
    return {
        "uid": "paper-engine-timer", "title": "paper-engine-timer", "schemaVersion": 41, "tags": ["paper-engine"], "editable": True,
        "time": {"from": "now-3h", "to": "now"}, "refresh": "30s",
        "templating": {"list": [variable("datasource", "datasource", "prometheus", "Data source"), job]},
        "panels": [panel(number, *parts) for number, parts in enumerate(PANELS)],
    }


def main():
    text = json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"
    if "--check" in sys.argv:
        return 0 if FILE.exists() and FILE.read_text() == text else f"{FILE.name} is not current: run {Path(__file__).name}"
    FILE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
