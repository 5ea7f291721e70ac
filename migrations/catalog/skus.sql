create table catalog_next.skus (
    position bigint not null,
    id integer not null check (id > 0),
    style_id integer not null check (style_id > 0),
    quantity integer not null check (quantity >= 0),
    size text not null
) with (autovacuum_enabled = false);
