-- What a load does since this release, for the catalogs of the release before it: the lists of categories and words. Readers
-- of these catalogs are not held up, because nothing but the new tables is locked. A collation says which characters beyond
-- ASCII are letters. Servers without any of these find words with such letters only after the next load.
do $$
declare
    -- Of ICU, of Postgres 17 and newer, and of the operating system.
    collations constant name[] := array['und-x-icu', 'pg_c_utf8', 'C.utf8', 'en_US.utf8'];
    letters constant name := (select collname from pg_collation
        where collname = any (collations) and collencoding in (-1, pg_char_to_encoding('UTF8'))
        order by array_position(collations, collname) limit 1);
    catalog text;
    generation integer;
begin
    -- The lock that a publish and a rollback take: each statement below finds the catalog by its name.
    perform pg_advisory_xact_lock(x'6174656c69657204'::bigint);
    foreach catalog in array array['catalog_prev', 'catalog'] loop
        continue when to_regclass(catalog || '.products') is null or to_regclass(catalog || '.words') is not null;
        execute format('select generation from %I.products limit 1', catalog) into generation;
        continue when generation is null;
        execute format(
            'create table %1$I.categories (block integer not null, products integer not null,
                 generation integer not null default %2$s, category text not null, product_ids integer[] not null)',
            catalog, generation);
        execute format('alter table %I.categories alter product_ids set storage external', catalog);
        execute format(
            'insert into %1$I.categories (block, products, category, product_ids)
             select (place - 1) / 1000, max(total), category, array_agg(id order by id)
             from (select id, category, row_number() over (partition by category order by id) as place,
                       count(*) over (partition by category) as total from %1$I.products) as placed
             group by category, (place - 1) / 1000',
            catalog);
        execute format('create index categories_key on %I.categories (hashtextextended(category, 0), block)', catalog);
        execute format(
            'create table %1$I.words (block integer not null, generation integer not null default %2$s,
                 word text collate "C" not null, product_ids integer[] not null)',
            catalog, generation);
        execute format('alter table %I.words alter product_ids set storage external', catalog);
        execute format(
            'insert into %1$I.words (block, word, product_ids)
             select (rank - 1) / 65536, left(word, 64), array_agg(distinct id order by id)
             from %1$I.products,
                 regexp_split_to_table(translate(lower(name %2$s), ''ς'', ''σ''), ''[^[:alnum:]]+'') as word
             where char_length(word) >= 3 group by 1, 2',
            catalog, 'collate ' || quote_ident(letters));
        execute format('create index words_key on %I.words (word, block)', catalog);
        execute format('alter table %I.categories owner to atelier_loader', catalog);
        execute format('alter table %I.words owner to atelier_loader', catalog);
        execute format('analyze %1$I.categories, %1$I.words', catalog);
        execute format('grant select on %1$I.categories, %1$I.words to atelier_reader', catalog);
    end loop;
end
$$;
