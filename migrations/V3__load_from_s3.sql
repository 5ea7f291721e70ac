-- Files from S3, loaded in several transactions and by several workers, and what has arrived there for a next load.

-- Where the files are: a folder's path, or s3://bucket/prefix/.
alter table etl.load add source text not null default '';
-- Told --no-publish: no event publishes it.
alter table etl.load add held boolean not null default false;
-- Why a load ended that published nothing: it failed, or was given up. Or why it stopped, if it can be taken up again.
alter table etl.load rename failure to reason;
alter table etl.load drop constraint load_check;
alter table etl.load add constraint load_reason
    check (case step when 'failed' then reason is not null when 'published' then reason is null else true end);

-- How many transactions brought its rows: those of one alone are written so that no vacuum has to look at them.
alter table etl.load_file add commits integer not null default 0;
-- Whether its content is what the manifest says.
alter table etl.load_file add verified boolean not null default false;

-- One row a range of a file: its rows are those that begin from first_offset to before end_offset, and those before
-- byte_offset are committed, with what etl.load_file and etl.reject say of them. Whoever commits more of them locks
-- the row first.
create table etl.load_part (
    generation integer not null,
    file text not null,
    first_offset bigint not null,
    end_offset bigint not null,
    byte_offset bigint not null,
    complete boolean not null default false,
    -- The rows that are committed by their table's key, which is the parent, or the id where there is none.
    first_key integer, -- that of the first row
    last_key integer,
    keys_ascend boolean not null default true, -- whether none is lower than the one before it, and no id equal
    primary key (generation, file, first_offset),
    foreign key (generation, file) references etl.load_file on delete cascade,
    check (byte_offset between first_offset and end_offset or complete)
);

insert into etl.load_part (generation, file, first_offset, end_offset, byte_offset, complete, keys_ascend)
    select generation, file, 0, size_bytes, byte_offset, complete, ids_ascend and file = 'product.csv'
    from etl.load_file;
alter table etl.load_file drop byte_offset, drop complete, drop ids_ascend;

-- One row a dataset of which files have arrived in S3, and why it is not loaded although it might be.
create table etl.incoming (
    source text primary key, -- s3://bucket/prefix/
    dataset text not null check (dataset ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$'),
    arrivals bigint not null default 1, -- how many were recorded, so that a reason is noted for what was looked at alone
    reason text
);

-- One row an object: the latest version of it that an event told of.
create table etl.incoming_file (
    source text not null references etl.incoming on delete cascade,
    file text not null,
    size_bytes bigint not null check (size_bytes >= 0),
    version text not null,   -- its ETag
    sequencer text not null, -- orders the events of one key; empty where an event has none
    arrived_at timestamptz not null default clock_timestamp(),
    refused text,            -- why it cannot be loaded, whatever else arrives
    generation integer references etl.load on delete cascade, -- the load that published it, or failed with it
    primary key (source, file)
);

alter table etl.load_part owner to atelier_owner;
alter table etl.incoming owner to atelier_owner;
alter table etl.incoming_file owner to atelier_owner;
grant select, insert, update, delete on etl.load_part, etl.incoming, etl.incoming_file to atelier_loader;
