-- A locked cart delays no other cart for long, and carts are deleted in batches.

-- Carts that were never used again. A flood of requests without a session creates many.
create index carts_used_once on cart.carts (touched_at) where touched_at = created_at;

-- Each connection of a host runs one statement after another. One that waits for a locked cart fails soon.
alter function cart.add(bytea, integer, integer) set lock_timeout = '100ms';
alter function cart.remove(bytea, integer) set lock_timeout = '100ms';
alter function cart.clear(bytea) set lock_timeout = '100ms';

-- Deletes at most `batch` carts last used before `used_before`, and as many used once only, before `once_before`. Skips locked
-- ones. Returns the number of deleted carts.
create function cart.prune(used_before timestamptz, once_before timestamptz, batch integer) returns integer
language sql volatile security definer set search_path = '' as $$
    with old as (
        select id from cart.carts where touched_at < used_before
        order by touched_at limit batch for update skip locked
    ), once as (
        select id from cart.carts where touched_at = created_at and touched_at < once_before
        order by touched_at limit batch for update skip locked
    ), gone as (
        delete from cart.carts where id in (select id from old union select id from once) returning 1
    )
    select count(*)::integer from gone
$$;
alter function cart.prune(timestamptz, timestamptz, integer) owner to atelier_owner;
revoke execute on function cart.prune(timestamptz, timestamptz, integer) from public;
grant execute on function cart.prune(timestamptz, timestamptz, integer) to atelier_loader;
