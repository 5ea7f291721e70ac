create table catalog_next.related (
    position bigint not null,
    id integer not null check (id > 0),
    product_id integer not null check (product_id > 0),
    related_product_id integer not null check (related_product_id > 0)
) with (autovacuum_enabled = false);
