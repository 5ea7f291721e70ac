-- What outlives every catalog: the record of loads, of the rows they set aside, and of what was published when.
create schema etl;

-- One row a load of a dataset. Its number is the generation of the catalog that comes of it.
create table etl.load (
    generation integer generated always as identity primary key,
    dataset text not null check (dataset ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$'),
    step text not null default 'load'
        check (step in ('load', 'index', 'assemble', 'publish', 'published', 'failed', 'abandoned')),
    failure text check ((failure is not null) = (step = 'failed')),
    started_at timestamptz not null default now(),
    ended_at timestamptz
);

-- One row a file of a load: which version of it, and how far its rows are committed.
create table etl.load_file (
    generation integer not null references etl.load on delete cascade,
    file text not null,
    size_bytes bigint not null check (size_bytes >= 0),
    version text not null, -- what tells this version of the file from another: its modification time, an ETag
    byte_offset bigint not null default 0 check (byte_offset between 0 and size_bytes),
    complete boolean not null default false,
    ids_ascend boolean not null default true, -- whether each row's id is higher than the one before it
    rows_read bigint not null default 0,
    rows_repaired bigint not null default 0,
    rows_set_aside bigint not null default 0,
    rows_loaded bigint not null default 0,
    seconds double precision not null default 0,
    primary key (generation, file),
    check (rows_read = rows_loaded + rows_set_aside)
);

-- Every row that could not be loaded, with its original bytes.
create table etl.reject (
    generation integer not null,
    file text not null,
    byte_offset bigint not null,
    line bigint,        -- counted after the file is loaded
    column_name text,   -- null where the row as a whole is at fault
    reason text not null,
    size_bytes bigint not null,
    original bytea not null, -- the first 64 KiB of the row; size_bytes tells its whole length
    primary key (generation, file, byte_offset),
    foreign key (generation, file) references etl.load_file on delete cascade
);

-- What has been served since when; the last row is the catalog of now. Written in the transaction that swaps.
create table etl.publication (
    id bigint generated always as identity primary key,
    generation integer not null references etl.load,
    action text not null check (action in ('publish', 'rollback')),
    at timestamptz not null default now()
);

alter schema etl owner to atelier_owner;
alter table etl.load owner to atelier_owner;
alter table etl.load_file owner to atelier_owner;
alter table etl.reject owner to atelier_owner;
alter table etl.publication owner to atelier_owner;

grant usage on schema etl to atelier_loader, atelier_reader;
grant select, insert, update, delete on etl.load, etl.load_file, etl.reject to atelier_loader;
grant select, insert on etl.publication to atelier_loader;
grant select on etl.publication to atelier_reader; -- readiness asks whether there is a catalog
