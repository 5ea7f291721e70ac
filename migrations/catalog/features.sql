create table catalog_next.features (
    position bigint not null,
    id integer not null check (id > 0),
    product_id integer not null check (product_id > 0),
    feature text not null,
    value text
) with (autovacuum_enabled = false);
