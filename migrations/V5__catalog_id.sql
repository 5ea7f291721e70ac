-- A random id of each catalog that was published, which a host's cache is keyed by: unlike a generation, it is not used
-- again by a database that replaces this one or is restored from a backup. A rollback takes the id of its catalog over. The
-- loader of the previous release knows no ids, so each of its rollbacks has a new one, which costs no more than a full
-- cache.
alter table etl.publication
    add column catalog_id bigint not null default hashtextextended(gen_random_uuid()::text, 0);
update etl.publication set catalog_id = first.catalog_id
    from (select distinct on (generation) generation, catalog_id from etl.publication order by generation, id) as first
    where publication.generation = first.generation;
