-- The rows of cart.csv, for reports. No request reads them: the carts of the service are in the schema cart.
create table catalog_next.cart (
    position bigint not null,
    id integer not null check (id > 0),
    user_session text not null,
    product_id integer not null check (product_id > 0),
    active boolean not null
) with (autovacuum_enabled = false);
