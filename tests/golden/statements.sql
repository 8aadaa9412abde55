copy "dbo"."orders" ("id", "name", "json", "ip") from stdin (format binary);
copy (select t."id", t."name", t."json", t."ip" from "dbo"."orders" t order by t."id") to stdout (format binary);
select t."id", t."name", t."json", pg_catalog.inetsend(t."ip") from "dbo"."orders" t where t."id" = any($1) order by t."id";
delete from "dbo"."orders" t where t."id" = any($1);
update "dbo"."orders" t set "name" = v.c2, "json" = v.c3, "ip" = v.c4 from unnest($1, $2, $3, $4) as v (c1, c2, c3, c4) where t."id" = v.c1 and (t."name" is distinct from v.c2 or t."json"::text is distinct from v.c3::text or pg_catalog.inetsend(t."ip") is distinct from pg_catalog.inetsend(v.c4));
select t."id"::text, t."name" is distinct from v.c2, t."json"::text is distinct from v.c3::text, pg_catalog.inetsend(t."ip") is distinct from pg_catalog.inetsend(v.c4) from "dbo"."orders" t join unnest($1, $2, $3, $4) as v (c1, c2, c3, c4) on t."id" = v.c1 where t."name" is distinct from v.c2 or t."json"::text is distinct from v.c3::text or pg_catalog.inetsend(t."ip") is distinct from pg_catalog.inetsend(v.c4) order by t."id";
select c1::text from unnest($1) as v (c1);
delete from "dbo"."orders" t using (values ($1), ($2)) as v (c1) where t."id" = v.c1;
update "dbo"."orders" t set "name" = default, "json" = default, "ip" = default from unnest($1, $2) as v (c1, c2) where t."id" = v.c1;
select count(*) filter (where t."name" is distinct from v.c2), count(*) filter (where t."json"::text is distinct from v.c3::text), count(*) filter (where pg_catalog.inetsend(t."ip") is distinct from pg_catalog.inetsend(v.c4)) from "dbo"."orders" t join unnest($1, $2, $3, $4) as v (c1, c2, c3, c4) on t."id" = v.c1;
select t."id"::text from "dbo"."orders" t join unnest($1, $2, $3, $4) as v (c1, c2, c3, c4) on t."id" = v.c1 where t."name" is distinct from v.c2 or t."json"::text is distinct from v.c3::text or pg_catalog.inetsend(t."ip") is distinct from pg_catalog.inetsend(v.c4) order by t."id" limit 5;

copy "dbo"."apart" ("m", "f", "loose") from stdin (format binary);
copy (select t."m", t."f", t."loose" from "dbo"."apart" t order by pg_catalog.anyenumsend(t."m"::x.mood)) to stdout (format binary);
select pg_catalog.anyenumsend(t."m"::x.mood), t."f", t."loose" from "dbo"."apart" t where t."m"::x.mood = any($1) order by pg_catalog.anyenumsend(t."m"::x.mood);
delete from "dbo"."apart" t where t."m"::x.mood = any($1);
update "dbo"."apart" t set "f" = v.c2, "loose" = v.c3 from unnest($1, $2, $3) as v (c1, c2, c3) where t."m"::x.mood = v.c1 and ((t."f" is distinct from v.c2 or (t."f" = 0 and pg_catalog.float8send(t."f") is distinct from pg_catalog.float8send(v.c2))) or pg_catalog.textsend(t."loose") is distinct from pg_catalog.textsend(v.c3));
select t."m"::text, (t."f" is distinct from v.c2 or (t."f" = 0 and pg_catalog.float8send(t."f") is distinct from pg_catalog.float8send(v.c2))), pg_catalog.textsend(t."loose") is distinct from pg_catalog.textsend(v.c3) from "dbo"."apart" t join unnest($1, $2, $3) as v (c1, c2, c3) on t."m"::x.mood = v.c1 where (t."f" is distinct from v.c2 or (t."f" = 0 and pg_catalog.float8send(t."f") is distinct from pg_catalog.float8send(v.c2))) or pg_catalog.textsend(t."loose") is distinct from pg_catalog.textsend(v.c3) order by pg_catalog.anyenumsend(t."m"::x.mood);
select c1::text from unnest($1) as v (c1);
delete from "dbo"."apart" t using (values ($1), ($2)) as v (c1) where t."m"::x.mood = v.c1;
update "dbo"."apart" t set "f" = default, "loose" = default from unnest($1, $2) as v (c1, c2) where t."m"::x.mood = v.c1;
select count(*) filter (where (t."f" is distinct from v.c2 or (t."f" = 0 and pg_catalog.float8send(t."f") is distinct from pg_catalog.float8send(v.c2)))), count(*) filter (where pg_catalog.textsend(t."loose") is distinct from pg_catalog.textsend(v.c3)) from "dbo"."apart" t join unnest($1, $2, $3) as v (c1, c2, c3) on t."m"::x.mood = v.c1;
select t."m"::text from "dbo"."apart" t join unnest($1, $2, $3) as v (c1, c2, c3) on t."m"::x.mood = v.c1 where (t."f" is distinct from v.c2 or (t."f" = 0 and pg_catalog.float8send(t."f") is distinct from pg_catalog.float8send(v.c2))) or pg_catalog.textsend(t."loose") is distinct from pg_catalog.textsend(v.c3) order by pg_catalog.anyenumsend(t."m"::x.mood) limit 5;

copy "Odd ""one"""."e; drop table x" ("a", "id", "b") from stdin (format binary);
copy (select t."a", t."id", t."b" from "Odd ""one"""."e; drop table x" t order by t."b" collate "C", t."id") to stdout (format binary);
select t."a", t."id", t."b" from "Odd ""one"""."e; drop table x" t join unnest($1, $2) as v (c1, c2) on t."b" = v.c1 and t."id" = v.c2 order by t."b" collate "C", t."id";
delete from "Odd ""one"""."e; drop table x" t using unnest($1, $2) as v (c1, c2) where t."b" = v.c1 and t."id" = v.c2;
update "Odd ""one"""."e; drop table x" t set "a" = v.c1 from unnest($1, $2, $3) as v (c1, c2, c3) where t."b" = v.c3 and t."id" = v.c2 and (t."a" is distinct from v.c1);
select t."b"::text, t."id"::text, t."a" is distinct from v.c1 from "Odd ""one"""."e; drop table x" t join unnest($1, $2, $3) as v (c1, c2, c3) on t."b" = v.c3 and t."id" = v.c2 where t."a" is distinct from v.c1 order by t."b" collate "C", t."id";
select c1::text, c2::text from unnest($1, $2) as v (c1, c2);
delete from "Odd ""one"""."e; drop table x" t using (values ($1, $2), ($3, $4)) as v (c1, c2) where t."b" = v.c1 and t."id" = v.c2;
update "Odd ""one"""."e; drop table x" t set "a" = v.c3 from unnest($1, $2, $3) as v (c1, c2, c3) where t."b" = v.c1 and t."id" = v.c2;
select count(*) filter (where t."a" is distinct from v.c1) from "Odd ""one"""."e; drop table x" t join unnest($1, $2, $3) as v (c1, c2, c3) on t."b" = v.c3 and t."id" = v.c2;
select t."b"::text, t."id"::text from "Odd ""one"""."e; drop table x" t join unnest($1, $2, $3) as v (c1, c2, c3) on t."b" = v.c3 and t."id" = v.c2 where t."a" is distinct from v.c1 order by t."b" collate "C", t."id" limit 5;

copy (select t.ctid, t.tableoid, t."id", t."name", t."json", t."ip" from "dbo"."orders" t order by t."id" nulls first, t."name" collate "C" nulls first, t."json"::text collate "C" nulls first, pg_catalog.inetsend(t."ip") nulls first) to stdout (format binary);
copy (select t.ctid, t.tableoid, t."m", t."f", t."loose" from "dbo"."apart" t order by pg_catalog.anyenumsend(t."m"::x.mood) nulls first, t."f" nulls first, pg_catalog.float8send(t."f"), t."loose" collate "C" nulls first) to stdout (format binary);
delete from "dbo"."orders" t using unnest($1, $2) as v (c1, c2) where t.ctid = v.c1 and t.tableoid = v.c2;
