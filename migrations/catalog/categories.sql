-- The posting lists of the categories. A row has up to 1,000 products, in ascending order of id. Postgres stores long lists
-- out of line, so all categories with their numbers of products are a few pages. It does not compress lists, which takes
-- longer than it saves.
create table catalog_next.categories (
    block integer not null,      -- from 0 for the lowest ids of a category
    products integer not null,   -- the number of products of the category, in all blocks
    generation integer not null default {generation},
    category text not null,
    product_ids integer[] not null
) with (autovacuum_enabled = false);
alter table catalog_next.categories alter product_ids set storage external;
alter table catalog_next.categories alter product_ids set statistics 0;
