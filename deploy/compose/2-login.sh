#!/bin/sh
# Run by Postgres' image once, when the database is made: the loader's login, of the role that roles.sql has made.
set -eu
psql --set=ON_ERROR_STOP=1 --set=word="$LOADER_PASSWORD" --username=postgres --dbname="$POSTGRES_DB" <<'SQL'
create role orders_loader login password :'word' in role paper_engine_loader;
SQL
