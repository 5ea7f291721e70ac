-- A login for each Lambda function that uses the database, with the rights of what it does and no others. Run this
-- after every `atelier-etl migrate`, as the login that migrated; it may be run again at any time. docs/lambda.md says
-- how.
--
-- On RDS the logins are members of rds_iam: a token signed by the function's role lets them in, and nothing else.
-- Elsewhere there is no such role, and they cannot log in where a password is asked for, because they have none.
do $$
declare
    on_rds constant boolean := exists (select from pg_roles where rolname = 'rds_iam');
    i_sign_in_by_iam constant boolean := on_rds and pg_has_role('rds_iam', 'member');
    login text;
    its_group text;
begin
    -- Two at once in one database would trip over each other's grants.
    perform pg_advisory_xact_lock(x'6174656c69657206'::bigint);
    for login, its_group in values
        ('list_products', 'atelier_reader'),
        ('get_product', 'atelier_reader'),
        ('get_styles', 'atelier_reader'),
        ('get_related', 'atelier_reader'),
        ('get_overview', 'atelier_reader'),
        ('get_cart', null), -- the grants of this one and of the two below follow the loop
        ('add_to_cart', 'atelier_cart_add'),
        ('clear_cart', null),
        ('remove_from_cart', null),
        ('etl', 'atelier_loader') -- the function that loads
    loop
        if not exists (select from pg_roles where rolname = login) then
            begin
                execute format('create role %I login', login);
            exception when duplicate_object or unique_violation then
                null; -- roles belong to the cluster: it was done for another database at the same time
            end;
        end if;
        -- A database of the release before keeps add_to_cart in atelier_cart as well: a load of that release gives the right
        -- to read skus to that group alone.
        if its_group is not null and not exists (
            select from pg_auth_members
            where roleid = to_regrole(its_group) and member = to_regrole(login)
        ) then
            execute format('grant %I to %I', its_group, login);
        end if;
        if on_rds and not pg_has_role(login, 'rds_iam', 'member') then
            execute format('grant rds_iam to %I', login);
        end if;
    end loop;
    -- Each of these does one thing to carts, and no group has that right alone.
    grant usage on schema cart to get_cart, clear_cart, remove_from_cart;
    grant select on cart.carts, cart.lines to get_cart;
    grant execute on function cart.clear(bytea) to clear_cart;
    grant execute on function cart.remove(bytea, integer) to remove_from_cart;

    -- Since Postgres 16 who makes a role is a member of it, and so of rds_iam through it; and RDS asks no member of
    -- rds_iam for a password any more.
    if on_rds and not i_sign_in_by_iam and pg_has_role('rds_iam', 'member')
        and current_setting('atelier.sign_in_by_iam', true) is distinct from 'on' then
        raise exception 'the password of % would no longer be accepted, only a token of IAM', current_user
            using detail = 'From Postgres 16 on it is a member of the logins that it makes, and so of rds_iam.',
            hint = 'If you can sign in as it by IAM, give psql PGOPTIONS=''-c atelier.sign_in_by_iam=on''.';
    end if;
end
$$;
