-- Sets the count of a line: 'set', or 'too_many_lines', which changes nothing. As `cart.add`, it locks the cart's row first, so
-- concurrent changes of a cart follow each other, and its statements see what those before it committed.
create function cart.set(cart_owner bytea, set_sku_id integer, set_count integer) returns text
language plpgsql volatile security definer set search_path = '' set lock_timeout = '100ms' as $$
declare
    its_id bigint;
begin
    insert into cart.carts as existing (owner, is_session)
        values (cart_owner, coalesce(current_setting('cart.is_session', true), '') = 'true')
        on conflict (owner) do update set touched_at = now()
        returning id into its_id; -- and from here on this cart's row is locked
    if not exists (select from cart.lines where cart_id = its_id and sku_id = set_sku_id)
        and (select count(*) from cart.lines where cart_id = its_id) >= 1000 then
        return 'too_many_lines';
    end if;
    insert into cart.lines (cart_id, sku_id, count) values (its_id, set_sku_id, set_count)
        on conflict (cart_id, sku_id) do update set count = excluded.count;
    return 'set';
end
$$;

alter function cart.set(bytea, integer, integer) owner to atelier_owner;
revoke execute on function cart.set(bytea, integer, integer) from public;
grant execute on function cart.set(bytea, integer, integer) to atelier_cart;
