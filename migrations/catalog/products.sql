create table catalog_next.products (
    position bigint not null, -- byte offset of the row in its file, which keeps the order of the file
    id integer not null check (id > 0),
    rank integer not null check (rank > 0), -- 1 for the lowest id; pages of the list are ranges of ranks
    default_price integer not null check (default_price >= 0),
    generation integer not null default {generation},
    name text not null,
    slogan text not null,
    description text not null,
    category text not null
) with (autovacuum_enabled = false);
