-- The posting lists of the words of the products' names: of each word, the products with it, in ascending order of id. A
-- block has the products of 65,536 ranks, so the lists of several words can be intersected block by block. A catalog with
-- very many words can have several rows of a word and a block, whose lists belong together.
create table catalog_next.words (
    block integer not null,      -- (rank - 1) / 65536
    generation integer not null default {generation},
    word text collate "C" not null,
    product_ids integer[] not null
) with (autovacuum_enabled = false);
alter table catalog_next.words alter product_ids set storage external;
alter table catalog_next.words alter product_ids set statistics 0;
