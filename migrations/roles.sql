-- Group roles, none of which can log in: a login is made a member of what it may do.
-- Roles belong to the cluster, not to the database, so databases that are migrated at the same time race to make
-- them: every statement here may be run again, by anyone, at any time.
do $$
declare
    role_name text;
begin
    foreach role_name in array array['atelier_owner', 'atelier_loader', 'atelier_reader', 'atelier_cart', 'atelier_cart_add']
    loop
        if not exists (select from pg_roles where rolname = role_name) then
            begin
                execute format('create role %I nologin', role_name);
            exception when duplicate_object or unique_violation then
                null; -- another database's migration was first
            end;
        end if;
    end loop;
    -- To add to carts is one of the things that may be done to them. Roles race for memberships too.
    if not pg_has_role('atelier_cart', 'atelier_cart_add', 'member') then
        begin
            grant atelier_cart_add to atelier_cart;
        exception when duplicate_object or unique_violation then
            null;
        end;
    end if;
    -- The owner keeps the schemas that outlive a catalog, the loader makes and renames the others. A right on the
    -- database is not copied with a template.
    execute format('grant create on database %I to atelier_owner, atelier_loader', current_database());
    -- Who migrates hands what it makes to the owner, and for that must have its rights. A login that can make roles
    -- can see to that itself (it made them, but from Postgres 16 on this alone is not enough); another was given them.
    foreach role_name in array array['atelier_owner', 'atelier_loader'] loop
        if not pg_has_role(role_name, 'usage')
            and (select rolcreaterole from pg_roles where rolname = current_user) then
            execute format('grant %I to %I', role_name, current_user);
        end if;
    end loop;
end
$$;
