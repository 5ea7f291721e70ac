-- The loader looks at the objects of a delivery themselves, so it records no S3 events any more. The ledger of loads says
-- which files of a prefix were loaded; a load that the previous release began counts too.
drop table etl.incoming_file;
drop table etl.incoming;

-- The version of the manifest.json that described the files when the load began (ETag and modification time); null
-- without one.
alter table etl.load add manifest text;

-- The deliveries below an S3 prefix that are not loaded, and why: they wait for a file, or are ignored.
create table etl.delivery (
    source text primary key, -- s3://bucket/prefix/
    dataset text not null,
    note text not null,
    files text not null, -- the versions of the files that the note is about
    noted_at timestamptz not null default clock_timestamp()
);
alter table etl.delivery owner to atelier_owner;
grant select, insert, update, delete on etl.delivery to atelier_loader;
