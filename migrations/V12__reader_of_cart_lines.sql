-- The lines of a cart with the names and prices of their products come from skus and styles. A publish grants the rights on
-- later catalogs.
do $$
declare
    catalog text;
begin
    foreach catalog in array array['catalog_prev', 'catalog'] loop
        continue when to_regclass(catalog || '.skus') is null;
        execute format('grant select on %1$I.skus, %1$I.styles to atelier_reader', catalog);
    end loop;
end
$$;
