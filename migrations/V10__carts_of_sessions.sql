-- Which carts belong to anonymous sessions: only these are deleted early if they are used once only. The carts of clients
-- with `Authorization` are not.
--
-- While another session reads the table for long, such as pg_dump, the statement below would wait behind it, and carts behind
-- that. So it waits in attempts that are shorter than the `lock_timeout` of the carts' functions, for up to
-- ten minutes.
do $$
begin
    set local lock_timeout = '50ms';
    for attempt in 1..600 loop
        begin
            lock table cart.carts in access exclusive mode;
            exit;
        exception when lock_not_available then
            if attempt = 600 then
                raise;
            end if;
            perform pg_sleep(0.5);
        end;
    end loop;
    set local lock_timeout to default;
end
$$;
alter table cart.carts add column is_session boolean not null default false;

drop index cart.carts_used_once;
create index carts_used_once on cart.carts (touched_at) where is_session and touched_at = created_at;

-- As before, but for `is_session`. The host says it with the setting `cart.is_session` of its transaction. A parameter would
-- be another function, which hosts of the previous release do not know, and this release does not find before the migration.
create or replace function cart.add(cart_owner bytea, added_sku_id integer, added_count integer) returns text
language plpgsql volatile security definer set search_path = '' set lock_timeout = '100ms' as $$
declare
    its_id bigint;
    present integer;
begin
    insert into cart.carts as existing (owner, is_session)
        values (cart_owner, coalesce(current_setting('cart.is_session', true), '') = 'true')
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

create or replace function cart.prune(used_before timestamptz, once_before timestamptz, batch integer) returns integer
language sql volatile security definer set search_path = '' as $$
    with old as (
        select id from cart.carts where touched_at < used_before
        order by touched_at limit batch for update skip locked
    ), once as (
        select id from cart.carts where is_session and touched_at = created_at and touched_at < once_before
        order by touched_at limit batch for update skip locked
    ), gone as (
        delete from cart.carts where id in (select id from old union select id from once) returning 1
    )
    select count(*)::integer from gone
$$;
