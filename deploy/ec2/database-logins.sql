-- Creates the logins of hosts and loader; run it after `atelier-etl migrate`. Idempotent: run it again after a password
-- change. The passwords come from the environment, so that neither `ps` nor a shell history shows them.
\set ON_ERROR_STOP on
\getenv host_password HOST_PASSWORD
\getenv loader_password LOADER_PASSWORD

select 'create role atelier_host login' where not exists (select from pg_roles where rolname = 'atelier_host') \gexec
select 'create role loader login' where not exists (select from pg_roles where rolname = 'loader') \gexec
alter role atelier_host password :'host_password' connection limit 64;
alter role loader password :'loader_password';
-- The host reads the catalog and writes carts; the loader writes the catalog.
grant atelier_reader, atelier_cart to atelier_host;
grant atelier_loader to loader;
