-- Carts lose lines, hold more of them, and are written by functions alone, each of which acts with its owner's rights: no
-- login needs a right to change a table of carts. And catalogs that are there already say how many products they have.

-- Adds to a cart and says how it went: 'added', 'too_many_lines' or 'too_many_of_sku'; the last two change nothing.
-- A function because the limits need what others committed while this call waited for the cart's row, and one
-- statement sees only what was committed before it began; each statement in here has a snapshot of its own.
create or replace function cart.add(cart_owner bytea, added_sku_id integer, added_count integer) returns text
language plpgsql volatile security definer set search_path = '' as $$
declare
    its_id bigint;
    present integer;
begin
    insert into cart.carts as existing (owner) values (cart_owner)
        on conflict (owner) do update set touched_at = now()
        returning id into its_id; -- and from here on this cart's row is locked
    select count into present from cart.lines where cart_id = its_id and sku_id = added_sku_id;
    if present + added_count > 9999 then
        return 'too_many_of_sku';
    end if;
    if present is null and (select count(*) from cart.lines where cart_id = its_id) >= 1000 then
        return 'too_many_lines';
    end if;
    insert into cart.lines (cart_id, sku_id, count) values (its_id, added_sku_id, added_count)
        on conflict (cart_id, sku_id) do update set count = cart.lines.count + excluded.count;
    return 'added';
end
$$;

-- Removes a line, if it is there, and the cart with its last line. The first statement waits for whatever else changes the
-- cart, and the next ones see it.
create function cart.remove(cart_owner bytea, removed_sku_id integer) returns void
language plpgsql volatile security definer set search_path = '' as $$
declare
    its_id bigint;
begin
    update cart.carts set touched_at = now() where owner = cart_owner returning id into its_id;
    delete from cart.lines where cart_id = its_id and sku_id = removed_sku_id;
    delete from cart.carts where id = its_id and not exists (select from cart.lines where cart_id = its_id);
end
$$;

-- Removes all lines, and the cart with them.
create function cart.clear(cart_owner bytea) returns void
language sql volatile security definer set search_path = '' as $$
    delete from cart.carts where owner = cart_owner
$$;

alter function cart.remove(bytea, integer) owner to atelier_owner;
alter function cart.clear(bytea) owner to atelier_owner;
revoke execute on function cart.remove(bytea, integer), cart.clear(bytea) from public;

revoke insert, update on cart.carts, cart.lines from atelier_cart;
grant execute on function cart.remove(bytea, integer), cart.clear(bytea) to atelier_cart;
grant usage on schema cart to atelier_cart_add;
grant execute on function cart.add(bytea, integer, integer) to atelier_cart_add;

-- What a load does since this release, for the catalogs of the release before it. The column is a constant default, which
-- rewrites no row. A reader that holds a table for longer than a moment, such as pg_dump, is not waited for, because all
-- others would wait behind it: then lists have no total until the next load. The served catalog is locked last, and for
-- the rest of the migration alone.
do $$
declare
    catalog text;
    products bigint;
begin
    set local lock_timeout = '500ms';
    foreach catalog in array array['catalog_prev', 'catalog'] loop
        continue when to_regclass(catalog || '.products') is null;
        execute format('grant usage on schema %I to atelier_cart_add', catalog);
        execute format('grant select on %I.skus to atelier_cart_add', catalog);
        execute format('select count(*) from %I.products', catalog) into products;
        begin
            execute format('alter table %I.products add column if not exists total integer not null default %s',
                catalog, products);
        exception when lock_not_available then
            raise warning '%.products is being read: its lists have no X-Total-Count until the next load', catalog;
        end;
    end loop;
    set local lock_timeout to default;
end
$$;
