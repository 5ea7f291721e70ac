-- Creates a login for each Lambda function that uses the database. Each login has only the rights that its function
-- needs. Run this after every `atelier-etl migrate`, with the login that ran it. The script is idempotent.
-- docs/deploy-lambda.md describes the steps.
--
-- On RDS the logins are members of rds_iam, so RDS accepts only an IAM token that the function's role signs. Other
-- servers do not have rds_iam. The logins have no password, so they cannot log in where the server requires one.
do $$
declare
    on_rds constant boolean := exists (select from pg_roles where rolname = 'rds_iam');
    i_sign_in_by_iam constant boolean := on_rds and pg_has_role('rds_iam', 'member');
    login text;
    its_group text;
begin
    -- Concurrent runs in one database would conflict on grants.
    perform pg_advisory_xact_lock(x'6174656c69657206'::bigint);
    for login, its_group in values
        ('list_products', 'atelier_reader'),
        ('get_product', 'atelier_reader'),
        ('get_styles', 'atelier_reader'),
        ('get_related', 'atelier_reader'),
        ('get_overview', 'atelier_reader'),
        ('list_cards', 'atelier_reader'),
        ('list_categories', 'atelier_reader'),
        ('get_catalog', 'atelier_reader'),
        ('get_cart_lines', 'atelier_reader'),
        ('get_cart', null), -- the grants of all logins with null follow the loop
        ('add_to_cart', 'atelier_cart_add'),
        ('set_cart_line', 'atelier_cart_add'),
        ('clear_cart', null),
        ('remove_from_cart', null),
        ('etl', 'atelier_loader') -- loads datasets
    loop
        if not exists (select from pg_roles where rolname = login) then
            begin
                execute format('create role %I login', login);
            exception when duplicate_object or unique_violation then
                null; -- roles belong to the cluster, and a concurrent run in another database created this one
            end;
        end if;
        -- In a database of the previous release, add_to_cart also stays in atelier_cart, because loads of that release
        -- grant the right to read skus only to that group.
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
    -- No group has exactly the rights that one of these functions needs.
    grant usage on schema cart to get_cart, get_cart_lines, clear_cart, remove_from_cart;
    grant select on cart.carts, cart.lines to get_cart, get_cart_lines;
    grant execute on function cart.clear(bytea) to clear_cart;
    grant execute on function cart.remove(bytea, integer) to remove_from_cart, set_cart_line;
    grant execute on function cart.set(bytea, integer, integer) to set_cart_line;

    -- From Postgres 16 on, the creator of a role becomes a member of it, and so an indirect member of rds_iam. RDS
    -- accepts only IAM tokens, and no passwords, from members of rds_iam.
    if on_rds and not i_sign_in_by_iam and pg_has_role('rds_iam', 'member')
        and current_setting('atelier.sign_in_by_iam', true) is distinct from 'on' then
        raise exception 'RDS would no longer accept the password of %, only an IAM token', current_user
            using detail = 'From Postgres 16 on, this role is a member of the logins that it creates, and so of rds_iam.',
            hint = 'If this role can log in through IAM, run psql with PGOPTIONS=''-c atelier.sign_in_by_iam=on''.';
    end if;
end
$$;
