-- A file is loaded in one transaction, so a load resumes with the next file. And what the loader understood or repaired in the
-- rows of a file is recorded.
alter table etl.load_file
    add column complete boolean not null default false,
    add column keys_ascend boolean not null default true; -- whether the rows are in order of their table's key: its parent, or its id
alter table etl.load_file rename column rows_set_aside to rows_rejected;
-- An interrupted load can resume only where all of its files are loaded: its other tables are created again.
-- Its documents are assembled from the tables, because files are read in another way now.
update etl.load_file set complete = part.complete,
        keys_ascend = part.keys_ascend
            and exists (select from etl.load where load.generation = load_file.generation and ended_at is not null)
    from (select generation, file, bool_and(complete) as complete, bool_and(keys_ascend) and count(*) = 1 as keys_ascend
          from etl.load_part group by generation, file) as part
    where part.generation = load_file.generation and part.file = load_file.file;
update etl.load_file set rows_read = 0, rows_repaired = 0, rows_rejected = 0, rows_loaded = 0, seconds = 0
    where not complete and generation in (select generation from etl.load where ended_at is null);
delete from etl.reject using etl.load_file, etl.load
    where reject.generation = load_file.generation and reject.file = load_file.file and not load_file.complete
        and load.generation = load_file.generation and load.ended_at is null;
alter table etl.load_file drop column commits;
drop table etl.load_part;

create table etl.note (
    generation integer not null,
    file text not null,
    note text not null,
    is_repair boolean not null, -- whether bytes of the file were changed
    rows bigint not null,
    lines bigint[] not null,    -- the first lines of some of the rows
    primary key (generation, file, note),
    foreign key (generation, file) references etl.load_file on delete cascade
);
alter table etl.note owner to atelier_owner;
grant select, insert, update, delete on etl.note to atelier_loader;
