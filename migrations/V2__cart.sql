-- Carts outlive every catalog: no foreign key leads from here into it (it would follow the rename of the schema).
create schema cart;

create table cart.carts (
    id bigint generated always as identity primary key,
    owner bytea not null unique check (length(owner) = 32), -- a SHA-256; whose it is, is not stored
    created_at timestamptz not null default now(),
    touched_at timestamptz not null default now()
);
create index carts_touched_at on cart.carts (touched_at); -- for pruning

create table cart.lines (
    cart_id bigint not null references cart.carts on delete cascade,
    sku_id integer not null check (sku_id > 0),
    count integer not null check (count between 1 and 9999),
    added_id bigint generated always as identity, -- the order of first adding
    primary key (cart_id, sku_id)
);

-- Adds to a cart and says how it went: 'added', 'too_many_lines' or 'too_many_of_sku'; the last two change nothing.
-- A function because the limits need what others committed while this call waited for the cart's row, and one
-- statement sees only what was committed before it began; each statement in here looks anew.
create function cart.add(cart_owner bytea, added_sku_id integer, added_count integer) returns text
language plpgsql volatile set search_path = '' as $$
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
    if present is null and (select count(*) from cart.lines where cart_id = its_id) >= 100 then
        return 'too_many_lines';
    end if;
    insert into cart.lines (cart_id, sku_id, count) values (its_id, added_sku_id, added_count)
        on conflict (cart_id, sku_id) do update set count = cart.lines.count + excluded.count;
    return 'added';
end
$$;

alter schema cart owner to atelier_owner;
alter table cart.carts owner to atelier_owner;
alter table cart.lines owner to atelier_owner;
alter function cart.add(bytea, integer, integer) owner to atelier_owner;

revoke execute on function cart.add(bytea, integer, integer) from public;
grant usage on schema cart to atelier_cart, atelier_loader;
grant select, insert, update on cart.carts, cart.lines to atelier_cart;
grant execute on function cart.add(bytea, integer, integer) to atelier_cart;
grant select, delete on cart.carts, cart.lines to atelier_loader; -- pruning
