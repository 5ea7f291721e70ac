-- Carts of a service that gets a key (CART_KEY). The key changes the hash that is the owner of a cart.

-- Moves the lines of one owner's cart to another owner's, which may have some already. The row of the first cart is locked
-- before that of the second. Lines above the limits of a cart are not lost: those limits apply to further additions.
create function cart.move(from_owner bytea, to_owner bytea) returns void
language plpgsql volatile security definer set search_path = '' set lock_timeout = '100ms' as $$
declare
    from_id bigint;
    from_created_at timestamptz;
    to_id bigint;
begin
    select id, created_at into from_id, from_created_at from cart.carts where owner = from_owner for update;
    if from_id is null then
        return;
    end if;
    -- With the time of the first cart's creation, because a cart that was used once only is deleted earlier.
    insert into cart.carts as existing (owner, created_at) values (to_owner, from_created_at)
        on conflict (owner) do update set touched_at = now()
        returning id into to_id;
    insert into cart.lines (cart_id, sku_id, count)
        select to_id, sku_id, count from cart.lines where cart_id = from_id order by added_id
        on conflict (cart_id, sku_id) do update set count = least(cart.lines.count + excluded.count, 9999);
    delete from cart.carts where id = from_id;
end
$$;

create function cart.is_owner(cart_owner bytea) returns boolean
language sql stable security definer set search_path = '' as $$
    select exists (select from cart.carts where owner = cart_owner)
$$;

alter function cart.move(bytea, bytea) owner to atelier_owner;
alter function cart.is_owner(bytea) owner to atelier_owner;
revoke execute on function cart.move(bytea, bytea), cart.is_owner(bytea) from public;
grant execute on function cart.move(bytea, bytea), cart.is_owner(bytea) to atelier_cart_add;
