create table catalog_next.photos (
    position bigint not null,
    id integer not null check (id > 0),
    style_id integer not null check (style_id > 0),
    url text not null,
    thumbnail_url text not null
) with (autovacuum_enabled = false);
