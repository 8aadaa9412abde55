#!/bin/sh
# Draws docs/pictures/plan.png: a plan's page as a browser shows it, of a feed of the example's tables. Needs chromium, and the
# servers whose variables `services.py exec` sets: see `just plan-picture`.
set -eu
program=$1 picture=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
psql() { "$PEO_PG_BIN/psql" -X -q -h "$PEO_PG_HOST" -p "$PEO_PG_PORT" -U "$PEO_PG_USER" "$@"; }
export NOTIFICATIONS=False SETTLE=0 RUST_LOG=error
export SOURCE="bucket_endpoint=http://127.0.0.1:$PEO_S3_PORT bucket_id=$PEO_S3_ID bucket_key=$PEO_S3_KEY \
bucket_name=feed bucket_path=data"
export TARGET="user=$PEO_PG_USER host=$PEO_PG_HOST port=$PEO_PG_PORT dbname=paper_engine"
make() { "$program" feed make --bucket --scale 0.1 "$@" >/dev/null; }

psql -d postgres -c 'drop database if exists paper_engine with (force)' -c 'create database paper_engine'
"$program" migrate --model db/model
make --create-bucket
"$program" run --once
# times in S3 have whole seconds
sleep 1.1
make --entity entity_1 --reload 0.01,0.03,0.02
make --entity entity_1 --no-snapshot --changes 1 --ops 300
make --entity entity_2 --no-snapshot --changes 2 --ops 400 --anomaly bad-row
RUST_LOG= "$program" plan --html "$work/plan.html" >/dev/null || [ $? = 1 ]
"${PEO_CHROMIUM:-chromium}" --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking \
    --disable-component-update --disable-sync --hide-scrollbars --user-data-dir="$work/chromium" --window-size=900,1000 \
    --screenshot="$picture" "file://$work/plan.html" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
