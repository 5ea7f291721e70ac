-- The logins of the machines, after `atelier-etl migrate`; may be run again at any time, as after a password was changed.
-- The passwords come from the environment, so that neither `ps` nor a history shows them.
\set ON_ERROR_STOP on
\getenv host_password HOST_PASSWORD
\getenv loader_password LOADER_PASSWORD

select 'create role atelier_host login' where not exists (select from pg_roles where rolname = 'atelier_host') \gexec
select 'create role loader login' where not exists (select from pg_roles where rolname = 'loader') \gexec
alter role atelier_host password :'host_password' connection limit 64;
alter role loader password :'loader_password';
-- The host reads the catalog and writes carts, the loader loads, and neither can do what the other does.
grant atelier_reader, atelier_cart to atelier_host;
grant atelier_loader to loader;
