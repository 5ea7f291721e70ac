-- A random id of each catalog that was published, which a host's cache is keyed by: unlike a generation, it is not used
-- again by a database that replaces this one or is restored from a backup. A rollback takes the id of its catalog over. The
-- loader of the previous release knows no ids, so each of its rollbacks has a new one, which costs no more than a full
-- cache.
--
-- Hosts read the table every second. While another session reads it for long, such as pg_dump, they would wait behind this
-- migration. So it waits in short attempts, for up to ten minutes.
do $$
begin
    set local lock_timeout = '500ms';
    for attempt in 1..600 loop
        begin
            lock table etl.publication in access exclusive mode;
            exit;
        exception when lock_not_available then
            if attempt = 600 then
                raise;
            end if;
            perform pg_sleep(0.5);
        end;
    end loop;
    set local lock_timeout to default;
end
$$;
alter table etl.publication
    add column catalog_id bigint not null default hashtextextended(gen_random_uuid()::text, 0);
update etl.publication set catalog_id = first.catalog_id
    from (select distinct on (generation) generation, catalog_id from etl.publication order by generation, id) as first
    where publication.generation = first.generation;
