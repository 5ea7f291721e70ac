create table catalog_next.styles (
    position bigint not null,
    id integer not null check (id > 0),
    product_id integer not null check (product_id > 0),
    original_price integer not null check (original_price >= 0),
    sale_price integer check (sale_price >= 0),
    is_default boolean not null,
    name text not null
) with (autovacuum_enabled = false);
