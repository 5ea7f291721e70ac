-- The read model: the precomputed documents of each product, derived from the other tables. A response is one row. The
-- type is bytea because Postgres would verify the encoding of text. The storage is external because the contents are
-- compressed already or too short to compress. Rows of up to 8,160 bytes stay in line, so a read touches one page.
create table catalog_next.documents (
    product_tag bigint not null, -- XXH3 of the plain body
    styles_tag bigint not null,
    related_tag bigint not null,
    product_id integer not null,
    generation integer not null default {generation},
    product bytea not null,      -- JSON
    styles bytea not null,       -- JSON, gzipped
    related bytea not null       -- JSON
) with (toast_tuple_target = 8160, autovacuum_enabled = false);
alter table catalog_next.documents alter product set storage external;
alter table catalog_next.documents alter styles set storage external;
alter table catalog_next.documents alter related set storage external;
