-- Group roles. None of them can log in: a login is a member of the roles that it needs.
-- Roles belong to the cluster, not to a database, so concurrent migrations of two databases race to create them. Every
-- statement here is idempotent, for every login and at any time.
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
                null; -- the migration of another database was first
            end;
        end if;
    end loop;
    -- A login that may change carts may also add to them. Concurrent migrations race for memberships too.
    if not pg_has_role('atelier_cart', 'atelier_cart_add', 'member') then
        begin
            grant atelier_cart_add to atelier_cart;
        exception when duplicate_object or unique_violation then
            null;
        end;
    end if;
    -- The owner owns the schemas that outlive a catalog; the loader creates and renames the others. A template does not
    -- pass on rights on the database, so they are granted here.
    execute format('grant create on database %I to atelier_owner, atelier_loader', current_database());
    -- Any login could fill the disk with temporary tables and large objects, and none needs them. Only a superuser may
    -- revoke the latter, so on a managed server such as RDS they stay allowed.
    execute format('revoke temporary on database %I from public', current_database());
    if (select rolsuper from pg_roles where rolname = current_user) then
        revoke execute on function lo_create(oid), lo_creat(integer), lo_from_bytea(oid, bytea) from public;
    end if;
    -- The migrating login transfers new objects to the owner, so it must be a member of that role. A login with
    -- CREATEROLE grants itself the membership; from Postgres 16 on, having created the role is not enough. Any other
    -- login must have received it already.
    foreach role_name in array array['atelier_owner', 'atelier_loader'] loop
        if not pg_has_role(role_name, 'usage')
            and (select rolcreaterole from pg_roles where rolname = current_user) then
            execute format('grant %I to %I', role_name, current_user);
        end if;
    end loop;
end
$$;
