-- Group roles, none of which can log in: a login is made a member of what it may do.
-- Roles belong to the cluster, not to the database, so databases that are migrated at the same time race to make
-- them: every statement here may be run again, by anyone, at any time.
do $$
declare
    role_name text;
begin
    foreach role_name in array array['atelier_owner', 'atelier_loader', 'atelier_reader', 'atelier_cart'] loop
        if not exists (select from pg_roles where rolname = role_name) then
            begin
                execute format('create role %I nologin', role_name);
            exception when duplicate_object or unique_violation then
                null; -- another database's migration was first
            end;
        end if;
    end loop;
    -- The loader makes and renames the schemas of the catalog; a right on the database is not copied with a template.
    execute format('grant create, temporary on database %I to atelier_loader', current_database());
end
$$;
