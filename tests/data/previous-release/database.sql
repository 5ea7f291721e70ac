-- A database as the release before this one makes it, for tests of an upgrade: its schema, two loads of data/small (one
-- served, one before it), and a cart. Written by its programs, and by `pg_dump --inserts --rows-per-insert=1000` without
-- comments; with each release it is made again. Its roles come first, as `migrate` and functions/logins.sql made them.
create role atelier_owner nologin;
create role atelier_loader nologin;
create role atelier_reader nologin;
create role atelier_cart nologin;
create role add_to_cart login in role atelier_cart;
create role get_cart login;
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE SCHEMA cart;
ALTER SCHEMA cart OWNER TO atelier_owner;
CREATE SCHEMA catalog;
ALTER SCHEMA catalog OWNER TO atelier_loader;
CREATE SCHEMA catalog_prev;
ALTER SCHEMA catalog_prev OWNER TO atelier_loader;
CREATE SCHEMA etl;
ALTER SCHEMA etl OWNER TO atelier_owner;
CREATE FUNCTION cart.add(cart_owner bytea, added_sku_id integer, added_count integer) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
    its_id bigint;
    present integer;
begin
    insert into cart.carts as existing (owner) values (cart_owner)
        on conflict (owner) do update set touched_at = now()
        returning id into its_id; -- and from here on this cart's row is locked
    select count into present from cart.lines where cart_id = its_id and sku_id = added_sku_id;
    if present + added_count > 9999 then
        return 'too_many_of_sku';
    end if;
    if present is null and (select count(*) from cart.lines where cart_id = its_id) >= 100 then
        return 'too_many_lines';
    end if;
    insert into cart.lines (cart_id, sku_id, count) values (its_id, added_sku_id, added_count)
        on conflict (cart_id, sku_id) do update set count = cart.lines.count + excluded.count;
    return 'added';
end
$$;
ALTER FUNCTION cart.add(cart_owner bytea, added_sku_id integer, added_count integer) OWNER TO atelier_owner;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE cart.carts (
    id bigint NOT NULL,
    owner bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    touched_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT carts_owner_check CHECK ((length(owner) = 32))
);
ALTER TABLE cart.carts OWNER TO atelier_owner;
ALTER TABLE cart.carts ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME cart.carts_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE cart.lines (
    cart_id bigint NOT NULL,
    sku_id integer NOT NULL,
    count integer NOT NULL,
    added_id bigint NOT NULL,
    CONSTRAINT lines_count_check CHECK (((count >= 1) AND (count <= 9999))),
    CONSTRAINT lines_sku_id_check CHECK ((sku_id > 0))
);
ALTER TABLE cart.lines OWNER TO atelier_owner;
ALTER TABLE cart.lines ALTER COLUMN added_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME cart.lines_added_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE catalog.cart (
    "position" bigint NOT NULL,
    id integer NOT NULL,
    user_session integer NOT NULL,
    product_id integer NOT NULL,
    active boolean NOT NULL,
    CONSTRAINT cart_id_check CHECK ((id > 0)),
    CONSTRAINT cart_product_id_check CHECK ((product_id > 0)),
    CONSTRAINT cart_user_session_check CHECK ((user_session >= 0))
)
WITH (autovacuum_enabled='false');
ALTER TABLE catalog.cart OWNER TO atelier_loader;
CREATE TABLE catalog.documents (
    product_tag bigint NOT NULL,
    styles_tag bigint NOT NULL,
    related_tag bigint NOT NULL,
    product_id integer NOT NULL,
    generation integer DEFAULT 2 NOT NULL,
    product bytea NOT NULL,
    styles bytea NOT NULL,
    related bytea NOT NULL
)
WITH (toast_tuple_target='8160', autovacuum_enabled='false');
ALTER TABLE ONLY catalog.documents ALTER COLUMN product SET STORAGE EXTERNAL;
ALTER TABLE ONLY catalog.documents ALTER COLUMN styles SET STORAGE EXTERNAL;
ALTER TABLE ONLY catalog.documents ALTER COLUMN related SET STORAGE EXTERNAL;
ALTER TABLE catalog.documents OWNER TO atelier_loader;
CREATE TABLE catalog.features (
    "position" bigint NOT NULL,
    id integer NOT NULL,
    product_id integer NOT NULL,
    feature text NOT NULL,
    value text,
    CONSTRAINT features_id_check CHECK ((id > 0)),
    CONSTRAINT features_product_id_check CHECK ((product_id > 0))
)
WITH (autovacuum_enabled='false');
ALTER TABLE catalog.features OWNER TO atelier_loader;
CREATE TABLE catalog.photos (
    "position" bigint NOT NULL,
    id integer NOT NULL,
    style_id integer NOT NULL,
    url text NOT NULL,
    thumbnail_url text NOT NULL,
    CONSTRAINT photos_id_check CHECK ((id > 0)),
    CONSTRAINT photos_style_id_check CHECK ((style_id > 0))
)
WITH (autovacuum_enabled='false');
ALTER TABLE catalog.photos OWNER TO atelier_loader;
CREATE TABLE catalog.products (
    "position" bigint NOT NULL,
    id integer NOT NULL,
    rank integer NOT NULL,
    default_price integer NOT NULL,
    generation integer DEFAULT 2 NOT NULL,
    name text NOT NULL,
    slogan text NOT NULL,
    description text NOT NULL,
    category text NOT NULL,
    CONSTRAINT products_default_price_check CHECK ((default_price >= 0)),
    CONSTRAINT products_id_check CHECK ((id > 0)),
    CONSTRAINT products_rank_check CHECK ((rank > 0))
)
WITH (autovacuum_enabled='false');
ALTER TABLE catalog.products OWNER TO atelier_loader;
CREATE TABLE catalog.related (
    "position" bigint NOT NULL,
    id integer NOT NULL,
    product_id integer NOT NULL,
    related_product_id integer NOT NULL,
    CONSTRAINT related_id_check CHECK ((id > 0)),
    CONSTRAINT related_product_id_check CHECK ((product_id > 0)),
    CONSTRAINT related_related_product_id_check CHECK ((related_product_id > 0))
)
WITH (autovacuum_enabled='false');
ALTER TABLE catalog.related OWNER TO atelier_loader;
CREATE TABLE catalog.skus (
    "position" bigint NOT NULL,
    id integer NOT NULL,
    style_id integer NOT NULL,
    quantity integer NOT NULL,
    size text NOT NULL,
    CONSTRAINT skus_id_check CHECK ((id > 0)),
    CONSTRAINT skus_quantity_check CHECK ((quantity >= 0)),
    CONSTRAINT skus_style_id_check CHECK ((style_id > 0))
)
WITH (autovacuum_enabled='false');
ALTER TABLE catalog.skus OWNER TO atelier_loader;
CREATE TABLE catalog.styles (
    "position" bigint NOT NULL,
    id integer NOT NULL,
    product_id integer NOT NULL,
    original_price integer NOT NULL,
    sale_price integer,
    is_default boolean NOT NULL,
    name text NOT NULL,
    CONSTRAINT styles_id_check CHECK ((id > 0)),
    CONSTRAINT styles_original_price_check CHECK ((original_price >= 0)),
    CONSTRAINT styles_product_id_check CHECK ((product_id > 0)),
    CONSTRAINT styles_sale_price_check CHECK ((sale_price >= 0))
)
WITH (autovacuum_enabled='false');
ALTER TABLE catalog.styles OWNER TO atelier_loader;
CREATE TABLE catalog_prev.cart (
    "position" bigint NOT NULL,
    id integer NOT NULL,
    user_session integer NOT NULL,
    product_id integer NOT NULL,
    active boolean NOT NULL,
    CONSTRAINT cart_id_check CHECK ((id > 0)),
    CONSTRAINT cart_product_id_check CHECK ((product_id > 0)),
    CONSTRAINT cart_user_session_check CHECK ((user_session >= 0))
)
WITH (autovacuum_enabled='false');
ALTER TABLE catalog_prev.cart OWNER TO atelier_loader;
CREATE TABLE catalog_prev.documents (
    product_tag bigint NOT NULL,
    styles_tag bigint NOT NULL,
    related_tag bigint NOT NULL,
    product_id integer NOT NULL,
    generation integer DEFAULT 1 NOT NULL,
    product bytea NOT NULL,
    styles bytea NOT NULL,
    related bytea NOT NULL
)
WITH (toast_tuple_target='8160', autovacuum_enabled='false');
ALTER TABLE ONLY catalog_prev.documents ALTER COLUMN product SET STORAGE EXTERNAL;
ALTER TABLE ONLY catalog_prev.documents ALTER COLUMN styles SET STORAGE EXTERNAL;
ALTER TABLE ONLY catalog_prev.documents ALTER COLUMN related SET STORAGE EXTERNAL;
ALTER TABLE catalog_prev.documents OWNER TO atelier_loader;
CREATE TABLE catalog_prev.features (
    "position" bigint NOT NULL,
    id integer NOT NULL,
    product_id integer NOT NULL,
    feature text NOT NULL,
    value text,
    CONSTRAINT features_id_check CHECK ((id > 0)),
    CONSTRAINT features_product_id_check CHECK ((product_id > 0))
)
WITH (autovacuum_enabled='false');
ALTER TABLE catalog_prev.features OWNER TO atelier_loader;
CREATE TABLE catalog_prev.photos (
    "position" bigint NOT NULL,
    id integer NOT NULL,
    style_id integer NOT NULL,
    url text NOT NULL,
    thumbnail_url text NOT NULL,
    CONSTRAINT photos_id_check CHECK ((id > 0)),
    CONSTRAINT photos_style_id_check CHECK ((style_id > 0))
)
WITH (autovacuum_enabled='false');
ALTER TABLE catalog_prev.photos OWNER TO atelier_loader;
CREATE TABLE catalog_prev.products (
    "position" bigint NOT NULL,
    id integer NOT NULL,
    rank integer NOT NULL,
    default_price integer NOT NULL,
    generation integer DEFAULT 1 NOT NULL,
    name text NOT NULL,
    slogan text NOT NULL,
    description text NOT NULL,
    category text NOT NULL,
    CONSTRAINT products_default_price_check CHECK ((default_price >= 0)),
    CONSTRAINT products_id_check CHECK ((id > 0)),
    CONSTRAINT products_rank_check CHECK ((rank > 0))
)
WITH (autovacuum_enabled='false');
ALTER TABLE catalog_prev.products OWNER TO atelier_loader;
CREATE TABLE catalog_prev.related (
    "position" bigint NOT NULL,
    id integer NOT NULL,
    product_id integer NOT NULL,
    related_product_id integer NOT NULL,
    CONSTRAINT related_id_check CHECK ((id > 0)),
    CONSTRAINT related_product_id_check CHECK ((product_id > 0)),
    CONSTRAINT related_related_product_id_check CHECK ((related_product_id > 0))
)
WITH (autovacuum_enabled='false');
ALTER TABLE catalog_prev.related OWNER TO atelier_loader;
CREATE TABLE catalog_prev.skus (
    "position" bigint NOT NULL,
    id integer NOT NULL,
    style_id integer NOT NULL,
    quantity integer NOT NULL,
    size text NOT NULL,
    CONSTRAINT skus_id_check CHECK ((id > 0)),
    CONSTRAINT skus_quantity_check CHECK ((quantity >= 0)),
    CONSTRAINT skus_style_id_check CHECK ((style_id > 0))
)
WITH (autovacuum_enabled='false');
ALTER TABLE catalog_prev.skus OWNER TO atelier_loader;
CREATE TABLE catalog_prev.styles (
    "position" bigint NOT NULL,
    id integer NOT NULL,
    product_id integer NOT NULL,
    original_price integer NOT NULL,
    sale_price integer,
    is_default boolean NOT NULL,
    name text NOT NULL,
    CONSTRAINT styles_id_check CHECK ((id > 0)),
    CONSTRAINT styles_original_price_check CHECK ((original_price >= 0)),
    CONSTRAINT styles_product_id_check CHECK ((product_id > 0)),
    CONSTRAINT styles_sale_price_check CHECK ((sale_price >= 0))
)
WITH (autovacuum_enabled='false');
ALTER TABLE catalog_prev.styles OWNER TO atelier_loader;
CREATE TABLE etl.incoming (
    source text NOT NULL,
    dataset text NOT NULL,
    arrivals bigint DEFAULT 1 NOT NULL,
    reason text,
    CONSTRAINT incoming_dataset_check CHECK ((dataset ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$'::text))
);
ALTER TABLE etl.incoming OWNER TO atelier_owner;
CREATE TABLE etl.incoming_file (
    source text NOT NULL,
    file text NOT NULL,
    size_bytes bigint NOT NULL,
    version text NOT NULL,
    sequencer text NOT NULL,
    arrived_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    refused text,
    generation integer,
    CONSTRAINT incoming_file_size_bytes_check CHECK ((size_bytes >= 0))
);
ALTER TABLE etl.incoming_file OWNER TO atelier_owner;
CREATE TABLE etl.load (
    generation integer NOT NULL,
    dataset text NOT NULL,
    step text DEFAULT 'load'::text NOT NULL,
    reason text,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    ended_at timestamp with time zone,
    source text DEFAULT ''::text NOT NULL,
    held boolean DEFAULT false NOT NULL,
    CONSTRAINT load_dataset_check CHECK ((dataset ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$'::text)),
    CONSTRAINT load_reason CHECK (
CASE step
    WHEN 'failed'::text THEN (reason IS NOT NULL)
    WHEN 'published'::text THEN (reason IS NULL)
    ELSE true
END),
    CONSTRAINT load_step_check CHECK ((step = ANY (ARRAY['load'::text, 'index'::text, 'assemble'::text, 'publish'::text, 'published'::text, 'failed'::text, 'abandoned'::text])))
);
ALTER TABLE etl.load OWNER TO atelier_owner;
CREATE TABLE etl.load_file (
    generation integer NOT NULL,
    file text NOT NULL,
    size_bytes bigint NOT NULL,
    version text NOT NULL,
    rows_read bigint DEFAULT 0 NOT NULL,
    rows_repaired bigint DEFAULT 0 NOT NULL,
    rows_set_aside bigint DEFAULT 0 NOT NULL,
    rows_loaded bigint DEFAULT 0 NOT NULL,
    seconds double precision DEFAULT 0 NOT NULL,
    commits integer DEFAULT 0 NOT NULL,
    verified boolean DEFAULT false NOT NULL,
    CONSTRAINT load_file_check1 CHECK ((rows_read = (rows_loaded + rows_set_aside))),
    CONSTRAINT load_file_size_bytes_check CHECK ((size_bytes >= 0))
);
ALTER TABLE etl.load_file OWNER TO atelier_owner;
ALTER TABLE etl.load ALTER COLUMN generation ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME etl.load_generation_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE etl.load_part (
    generation integer NOT NULL,
    file text NOT NULL,
    first_offset bigint NOT NULL,
    end_offset bigint NOT NULL,
    byte_offset bigint NOT NULL,
    complete boolean DEFAULT false NOT NULL,
    first_key integer,
    last_key integer,
    keys_ascend boolean DEFAULT true NOT NULL,
    CONSTRAINT load_part_check CHECK ((((byte_offset >= first_offset) AND (byte_offset <= end_offset)) OR complete))
);
ALTER TABLE etl.load_part OWNER TO atelier_owner;
CREATE TABLE etl.publication (
    id bigint NOT NULL,
    generation integer NOT NULL,
    action text NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT publication_action_check CHECK ((action = ANY (ARRAY['publish'::text, 'rollback'::text])))
);
ALTER TABLE etl.publication OWNER TO atelier_owner;
ALTER TABLE etl.publication ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME etl.publication_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE etl.reject (
    generation integer NOT NULL,
    file text NOT NULL,
    byte_offset bigint NOT NULL,
    line bigint,
    column_name text,
    reason text NOT NULL,
    size_bytes bigint NOT NULL,
    original bytea NOT NULL
);
ALTER TABLE etl.reject OWNER TO atelier_owner;
CREATE TABLE public.refinery_schema_history (
    version integer NOT NULL,
    name character varying(255),
    applied_on character varying(255),
    checksum character varying(255)
);
ALTER TABLE public.refinery_schema_history OWNER TO atelier;
INSERT INTO cart.carts OVERRIDING SYSTEM VALUE VALUES
	(1, '\xb9725b0a2dfca75be52ecd0eb47cf9885bdb413b2f646531eee286f85388951b', '2026-11-26 16:27:19.292501+00', '2026-11-26 16:27:19.296389+00');
INSERT INTO cart.lines OVERRIDING SYSTEM VALUE VALUES
	(1, 1, 2, 1),
	(1, 3, 1, 2);
INSERT INTO catalog.cart VALUES
	(34, 1, 501, 1, true),
	(55, 3, 502, 2, false);
INSERT INTO catalog.documents VALUES
	(8731276152782690743, -8429149427759484159, 7228735184405573412, 1, 2, '\x7b226964223a312c226e616d65223a2254686973746c65205261696e636f6174222c22736c6f67616e223a2257656174686572206973206f6e6c792077656174686572222c226465736372697074696f6e223a2257617865642062792068616e642020616e64206d65616e7420746f206c6173743b20697420637265616b732061206c6974746c652c207468656e20697420646f65736e27742e222c2263617465676f7279223a22436f6174222c2264656661756c745f7072696365223a22313835222c226665617475726573223a5b7b2266656174757265223a22466162726963222c2276616c7565223a225761786564205c2248616c6c65795c2220436f74746f6e227d2c7b2266656174757265223a224c69666574696d652047756172616e746565222c2276616c7565223a6e756c6c7d2c7b2266656174757265223a224d6f74746f222c2276616c7565223a226e756c6c227d2c7b2266656174757265223a225365776e20496e222c2276616c7565223a22433a5c5c74696e5c5c227d5d7d', '\x1f8b08000000000004ffed5d0380b6b911ae6d1bcfa1ca67e7f8db365fdbc13ab56ddbb66ddbb66d636dd78a6d63661839cb6c69092db04151030173b88c05073d350c2e066367c2aa46901a89038a43b1219cdb9c7f9b3d19e720c858e005a9116b390b2c0714b56e0b04dc889d69a354c63181edb8868cc525a082498720f733914d46237c9998a911c49a6431287c21724e2b9549276567c048f2d8a9d42ee9bfa851ad9e5f5cd4ad826055b7dd69b7ea0c018f24071d460d7418853452118841d02e010f861c501c3f0445509f6f5d6bcfd84f58371658b766ac8fef862268ceb76f2eb0aeb5e7dbd767ed8fef86528acc2df3fa4c99efb37ce65c709b23a93de8d86b2b745431b7cc5d23e67f55a137d651e88d4be6163a5973c5d6d711477d5e1c732ab63bbf681b3345bb2f756e73281872a0083af31d55671cd5eae5d6a20a68cc54c061832d55ecf56a75415b47add15b67c1cb659a7b6b1da5d29a572a6b2ff9f63ae268cf8b634ec9a7328ee797eb648f9fec58a98ce385055bebcc94ec6e43384b15edeac3c8aa4d7a321513c3c44422d69be4336a14840d4e051f050000', '\x5b322c372c372c312c32305d'),
	(-7373100665703325881, 8988842754043065248, -6962119434655029174, 2, 2, '\x7b226964223a322c226e616d65223a224f27486172612773205c22506c61696e5c2220436170222c22736c6f67616e223a2253686164652026206e6f7468696e6720656c7365222c226465736372697074696f6e223a22222c2263617465676f7279223a22436170222c2264656661756c745f7072696365223a223232222c226665617475726573223a5b7b2266656174757265223a22437574222c2276616c7565223a22227d2c7b2266656174757265223a2255562050726f74656374696f6e222c2276616c7565223a6e756c6c7d5d7d', '\x1f8b08000000000004ffed5d0380b6b911ae6d1bcfa1ca67e7f8db365fdbc13ab56ddbb66ddbb66d636dd78a6d63661839cb6c69092db04151070173b88c05073d350c2e066367c2aa4d901a89038a438219fd20c858e005a9116b390b2c0714f53a08b8113bd326a98c6302db710d198b4b405d23e60e41ee67229b0c5ff8323153238835c9e2690f334a7586804792830ea3d6051d46218d54046210b44ec083210714a98c6328a5c8dce4b66692bb238dd69458d4ba989b58c1e48a69852f44ce69a532999db233602479ec543a97f45fd4a856cf2f2eea5631959995dc76a7dd2ab2a83c96f3d75d471cdd4be6c631b744ab0b4ab4d6ec34bb8d76b33353b47ba0943aa34601db6d58e325020000', '\x5b392c342c31325d'),
	(-7325301920042228734, 5530430505808249537, -9002321747907662742, 4, 2, '\x7b226964223a342c226e616d65223a224772c3b6c39f6520536f636b73222c22736c6f67616e223a225a7765692046c3bcc39f652c2065696e2050616172222c226465736372697074696f6e223a224b6e697474656420696e20c581c3b364c5ba20666f7220636f6c64206e61c3af7665206665657420f09fa7a63b20646f6e277420626f696c2e222c2263617465676f7279223a22536f636b73222c2264656661756c745f7072696365223a2230222c226665617475726573223a5b5d7d', '\x1f8b08000000000004ffab562a28ca4f294d2e89cf4c51b2523251d2512a4a2d2ecd292956b28a8ead050069fd5e351f000000', '\x5b5d'),
	(-8236939779293546414, 472062583285577816, -9002321747907662742, 7, 2, '\x7b226964223a372c226e616d65223a22426172676520426f6f7473222c22736c6f67616e223a22576964652c206472792c20736c6f77222c226465736372697074696f6e223a22536f6c657320796f752063616e206865617220636f6d696e67222c2263617465676f7279223a22426f6f7473222c2264656661756c745f7072696365223a22353030303030303030222c226665617475726573223a5b7b2266656174757265223a22536f6c65222c2276616c7565223a22526f7065202620436f726b3b2020746172726564227d5d7d', '\x1f8b08000000000004ffab562a28ca4f294d2e89cf4c51b2523257d2512a4a2d2ecd292956b28aae562a2ea9cc49054b59e828e525e6a62a5929392516a52ae928e51765a667e625e6c417146526a72a5929991a4081928e5271624e2a4c22af342747472925352db134a7c45ec92a2d31a7385547a92023bf241f624b4946696e525e62664e7c69510e4c039c591baba3549c5d5aac6455ad94579a93a36455ad54589a985792595209535c9c59950a61d7d6d6c6d60200ea3284f6d6000000', '\x5b5d'),
	(6126980790306294503, -3691866056391068496, -9002321747907662742, 9, 2, '\x7b226964223a392c226e616d65223a22546f6c6c676174652054726f7573657273222c22736c6f67616e223a22506179206f6e2074686520776179206f7574222c226465736372697074696f6e223a2254776f20706c656174732c205c22666f75725c2220706f636b6574732e222c2263617465676f7279223a2254726f7573657273222c2264656661756c745f7072696365223a223634222c226665617475726573223a5b5d7d', '\x1f8b08000000000004ffed5d0380b6b911ae6d1bcfa1ca67e7f8db365fdbc13ab56ddbb66ddbb66d636dd78a6d63661839cb6c69092db041d1030173b88c05073d350c2e066367c2aa47901a89038a6dcc190441c6022f488d58cb596039a0683741c08dd8993649651c13d88e6bc8585c02ea1a317708723f13d964f0c29789991a41ac49164f7b9851aa33043c921c7418b51ae8300a69a4221083a035021e0c39a0e8945b504a91b989ad556752bb2f8d076fb37f32ca25125d5d906654b1ae24c31722e7b45299cc55d91930923c762ab5da25fd1735aad5f38b8bba554c656a45c7dd69c78a2c2a98653db6d6134beb92b9b1cc29dc54c6f1fce29dacbac9124e651c2ba5cea851b709a67c2c020000', '\x5b5d'),
	(4726730773165872975, 4033146046935895867, -9002321747907662742, 12, 2, '\x7b226964223a31322c226e616d65223a224665727279205469636b657420506f636b6574222c22736c6f67616e223a224b65657073206f6e65207468696e67222c226465736372697074696f6e223a224120706f636b65742c20736f6c6420616c6f6e652e222c2263617465676f7279223a224163636573736f72696573222c2264656661756c745f7072696365223a2235222c226665617475726573223a5b5d7d', '\x1f8b08000000000004ffab562a28ca4f294d2e89cf4c51b252323452d2512a4a2d2ecd292956b28a8ead05007a98902920000000', '\x5b5d'),
	(2954436539251952740, -5274846001640282715, 9089080473086769509, 20, 2, '\x7b226964223a32302c226e616d65223a224b696c6e204472657373222c22736c6f67616e223a224669726564206f6e6365222c226465736372697074696f6e223a22537469666620666f722061206461792e2020536f66742061667465722e5c74433a5c5c74696e5c5c222c2263617465676f7279223a224472657373222c2264656661756c745f7072696365223a22313138222c226665617475726573223a5b7b2266656174757265223a22437574222c2276616c7565223a224c6f6f7365227d5d7d', '\x1f8b08000000000004ffab562a28ca4f294d2e89cf4c51b252323250d2512a4a2d2ecd292956b28aae562a2ea9cc4905cb191aeb28e525e6a62a5929f9e7e5542a046797162be928e51765a667e625e6c417146526a72a5929191a5a28e9281527e6a4c284f24a737274945252d3124b734aec95ac4a8a4a5375940a32f24bf22196946494e626e52566e6c49716e5c0d4c399b5b13a4ac5d9a5c54a56d54a86464a56d54a85a58979259925954a56a63a4ac59955a94a564ac14ab5b5b5b1b500cb36db5cd0000000', '\x5b315d');
INSERT INTO catalog.features VALUES
	(28, 1, 1, 'Fabric', 'Waxed "Halley" Cotton'),
	(67, 2, 1, 'Lifetime Guarantee', NULL),
	(97, 3, 1, 'Motto', 'null'),
	(116, 5, 2, 'Cut', ''),
	(129, 4, 2, 'UV Protection', NULL),
	(154, 6, 7, 'Sole', 'Rope & Cork;  tarred'),
	(229, 9, 1, 'Sewn In', 'C:\tin\'),
	(253, 10, 20, 'Cut', 'Loose');
INSERT INTO catalog.photos VALUES
	(29, 1, 1, 'https://photos.example/1?w=800&q=80', 'https://photos.example/1?w=300&q=80'),
	(109, 3, 2, 'https://photos.example/3?w=800&q=80', 'https://photos.example/3?w=300&q=80'),
	(189, 2, 2, 'https://photos.example/2?w=800&q=80', 'https://photos.example/2?w=300&q=80'),
	(269, 5, 3, 'https://photos.example/5?w=800&q=80', 'uhttps://photos.example/5?w=300&q=80'),
	(350, 6, 3, 'https://photos.example/6?w=800&q=80', 'https://photos.example/6?w=300&q=80'),
	(429, 7, 5, 'https://photos.example/7?w=800&q=80', 'https://photos.example/7?w=300&q=80'),
	(509, 8, 5, 'https://photos.example/8?w=800&q=80', 'https://photos.example/8?w=300&q=80'),
	(1000, 11, 10, 'https://photos.example/11?w=800&q=80', 'https://photos.example/11?w=300&q=80'),
	(1084, 15, 10, 'https://photos.example/15?w=800&q=80', 'https://photos.example/15?w=300&q=80');
INSERT INTO catalog.products VALUES
	(50, 1, 1, 185, 2, 'Thistle Raincoat', 'Weather is only weather', 'Waxed by hand  and meant to last; it creaks a little, then it doesn''t.', 'Coat'),
	(181, 2, 2, 22, 2, 'O''Hara''s "Plain" Cap', 'Shade & nothing else', '', 'Cap'),
	(243, 4, 3, 0, 2, 'Größe Socks', 'Zwei Füße, ein Paar', 'Knitted in Łódź for cold naïve feet 🧦; don''t boil.', 'Socks'),
	(355, 7, 4, 500000000, 2, 'Barge Boots', 'Wide, dry, slow', 'Soles you can hear coming', 'Boots'),
	(607, 20, 7, 118, 2, 'Kiln Dress', 'Fired once', 'Stiff for a day.  Soft after.	C:\tin\', 'Dress'),
	(518, 9, 5, 64, 2, 'Tollgate Trousers', 'Pay on the way out', 'Two pleats, "four" pockets.', 'Trousers'),
	(435, 12, 6, 5, 2, 'Ferry Ticket Pocket', 'Keeps one thing', 'A pocket, sold alone.', 'Accessories');
INSERT INTO catalog.related VALUES
	(41, 1, 1, 2),
	(47, 2, 1, 7),
	(53, 3, 1, 7),
	(59, 4, 1, 1),
	(71, 6, 2, 9),
	(77, 8, 2, 4),
	(83, 7, 2, 12),
	(105, 11, 20, 1),
	(113, 12, 1, 20);
INSERT INTO catalog.skus VALUES
	(25, 1, 1, 8, 'XS'),
	(36, 2, 1, 16, 'S'),
	(48, 3, 1, 15, 'XL'),
	(60, 4, 1, 4, 'XL'),
	(71, 8, 2, 3, 'One Size'),
	(88, 7, 2, 0, '12.5'),
	(101, 10, 5, 2147483647, 'M'),
	(121, 11, 9, 1, '7.5'),
	(134, 12, 13, 5, 'S'),
	(198, 16, 1, 2, 'XXL'),
	(223, 18, 6, 2, 'null');
INSERT INTO catalog.styles VALUES
	(58, 1, 1, 185, NULL, true, 'Slate & Moss'),
	(88, 2, 1, 185, 0, false, 'Ochre; Undyed'),
	(116, 3, 1, 200, 139, false, 'Tar'),
	(136, 6, 2, 22, NULL, false, 'Straw'),
	(158, 5, 2, 22, 18, true, 'Ink'),
	(176, 8, 7, 500000000, NULL, false, 'Bare'),
	(204, 9, 9, 64, NULL, false, 'Grey'),
	(225, 10, 9, 0, 0, false, 'Only Photos'),
	(250, 13, 20, 118, NULL, true, 'Only Skus'),
	(349, 17, 1, 185, NULL, false, 'Late');
INSERT INTO catalog_prev.cart VALUES
	(34, 1, 501, 1, true),
	(55, 3, 502, 2, false);
INSERT INTO catalog_prev.documents VALUES
	(8731276152782690743, -8429149427759484159, 7228735184405573412, 1, 1, '\x7b226964223a312c226e616d65223a2254686973746c65205261696e636f6174222c22736c6f67616e223a2257656174686572206973206f6e6c792077656174686572222c226465736372697074696f6e223a2257617865642062792068616e642020616e64206d65616e7420746f206c6173743b20697420637265616b732061206c6974746c652c207468656e20697420646f65736e27742e222c2263617465676f7279223a22436f6174222c2264656661756c745f7072696365223a22313835222c226665617475726573223a5b7b2266656174757265223a22466162726963222c2276616c7565223a225761786564205c2248616c6c65795c2220436f74746f6e227d2c7b2266656174757265223a224c69666574696d652047756172616e746565222c2276616c7565223a6e756c6c7d2c7b2266656174757265223a224d6f74746f222c2276616c7565223a226e756c6c227d2c7b2266656174757265223a225365776e20496e222c2276616c7565223a22433a5c5c74696e5c5c227d5d7d', '\x1f8b08000000000004ffed5d0380b6b911ae6d1bcfa1ca67e7f8db365fdbc13ab56ddbb66ddbb66d636dd78a6d63661839cb6c69092db04151030173b88c05073d350c2e066367c2aa46901a89038a43b1219cdb9c7f9b3d19e720c858e005a9116b390b2c0714b56e0b04dc889d69a354c63181edb8868cc525a082498720f733914d46237c9998a911c49a6431287c21724e2b9549276567c048f2d8a9d42ee9bfa851ad9e5f5cd4ad826055b7dd69b7ea0c018f24071d460d7418853452118841d02e010f861c501c3f0445509f6f5d6bcfd84f58371658b766ac8fef862268ceb76f2eb0aeb5e7dbd767ed8fef86528acc2df3fa4c99efb37ce65c709b23a93de8d86b2b745431b7cc5d23e67f55a137d651e88d4be6163a5973c5d6d711477d5e1c732ab63bbf681b3345bb2f756e73281872a0083af31d55671cd5eae5d6a20a68cc54c061832d55ecf56a75415b47add15b67c1cb659a7b6b1da5d29a572a6b2ff9f63ae268cf8b634ec9a7328ee797eb648f9fec58a98ce385055bebcc94ec6e43384b15edeac3c8aa4d7a321513c3c44422d69be4336a14840d4e051f050000', '\x5b322c372c372c312c32305d'),
	(-7373100665703325881, 8988842754043065248, -6962119434655029174, 2, 1, '\x7b226964223a322c226e616d65223a224f27486172612773205c22506c61696e5c2220436170222c22736c6f67616e223a2253686164652026206e6f7468696e6720656c7365222c226465736372697074696f6e223a22222c2263617465676f7279223a22436170222c2264656661756c745f7072696365223a223232222c226665617475726573223a5b7b2266656174757265223a22437574222c2276616c7565223a22227d2c7b2266656174757265223a2255562050726f74656374696f6e222c2276616c7565223a6e756c6c7d5d7d', '\x1f8b08000000000004ffed5d0380b6b911ae6d1bcfa1ca67e7f8db365fdbc13ab56ddbb66ddbb66d636dd78a6d63661839cb6c69092db04151070173b88c05073d350c2e066367c2aa4d901a89038a438219fd20c858e005a9116b390b2c0714f53a08b8113bd326a98c6302db710d198b4b405d23e60e41ee67229b0c5ff8323153238835c9e2690f334a7586804792830ea3d6051d46218d54046210b44ec083210714a98c6328a5c8dce4b66692bb238dd69458d4ba989b58c1e48a69852f44ce69a532999db233602479ec543a97f45fd4a856cf2f2eea5631959995dc76a7dd2ab2a83c96f3d75d471cdd4be6c631b744ab0b4ab4d6ec34bb8d76b33353b47ba0943aa34601db6d58e325020000', '\x5b392c342c31325d'),
	(-7325301920042228734, 5530430505808249537, -9002321747907662742, 4, 1, '\x7b226964223a342c226e616d65223a224772c3b6c39f6520536f636b73222c22736c6f67616e223a225a7765692046c3bcc39f652c2065696e2050616172222c226465736372697074696f6e223a224b6e697474656420696e20c581c3b364c5ba20666f7220636f6c64206e61c3af7665206665657420f09fa7a63b20646f6e277420626f696c2e222c2263617465676f7279223a22536f636b73222c2264656661756c745f7072696365223a2230222c226665617475726573223a5b5d7d', '\x1f8b08000000000004ffab562a28ca4f294d2e89cf4c51b2523251d2512a4a2d2ecd292956b28a8ead050069fd5e351f000000', '\x5b5d'),
	(-8236939779293546414, 472062583285577816, -9002321747907662742, 7, 1, '\x7b226964223a372c226e616d65223a22426172676520426f6f7473222c22736c6f67616e223a22576964652c206472792c20736c6f77222c226465736372697074696f6e223a22536f6c657320796f752063616e206865617220636f6d696e67222c2263617465676f7279223a22426f6f7473222c2264656661756c745f7072696365223a22353030303030303030222c226665617475726573223a5b7b2266656174757265223a22536f6c65222c2276616c7565223a22526f7065202620436f726b3b2020746172726564227d5d7d', '\x1f8b08000000000004ffab562a28ca4f294d2e89cf4c51b2523257d2512a4a2d2ecd292956b28aae562a2ea9cc49054b59e828e525e6a62a5929392516a52ae928e51765a667e625e6c417146526a72a5929991a4081928e5271624e2a4c22af342747472925352db134a7c45ec92a2d31a7385547a92023bf241f624b4946696e525e62664e7c69510e4c039c591baba3549c5d5aac6455ad94579a93a36455ad54589a985792595209535c9c59950a61d7d6d6c6d60200ea3284f6d6000000', '\x5b5d'),
	(6126980790306294503, -3691866056391068496, -9002321747907662742, 9, 1, '\x7b226964223a392c226e616d65223a22546f6c6c676174652054726f7573657273222c22736c6f67616e223a22506179206f6e2074686520776179206f7574222c226465736372697074696f6e223a2254776f20706c656174732c205c22666f75725c2220706f636b6574732e222c2263617465676f7279223a2254726f7573657273222c2264656661756c745f7072696365223a223634222c226665617475726573223a5b5d7d', '\x1f8b08000000000004ffed5d0380b6b911ae6d1bcfa1ca67e7f8db365fdbc13ab56ddbb66ddbb66d636dd78a6d63661839cb6c69092db041d1030173b88c05073d350c2e066367c2aa47901a89038a6dcc190441c6022f488d58cb596039a0683741c08dd8993649651c13d88e6bc8585c02ea1a317708723f13d964f0c29789991a41ac49164f7b9851aa33043c921c7418b51ae8300a69a4221083a035021e0c39a0e8945b504a91b989ad556752bb2f8d076fb37f32ca25125d5d906654b1ae24c31722e7b45299cc55d91930923c762ab5da25fd1735aad5f38b8bba554c656a45c7dd69c78a2c2a98653db6d6134beb92b9b1cc29dc54c6f1fce29dacbac9124e651c2ba5cea851b709a67c2c020000', '\x5b5d'),
	(4726730773165872975, 4033146046935895867, -9002321747907662742, 12, 1, '\x7b226964223a31322c226e616d65223a224665727279205469636b657420506f636b6574222c22736c6f67616e223a224b65657073206f6e65207468696e67222c226465736372697074696f6e223a224120706f636b65742c20736f6c6420616c6f6e652e222c2263617465676f7279223a224163636573736f72696573222c2264656661756c745f7072696365223a2235222c226665617475726573223a5b5d7d', '\x1f8b08000000000004ffab562a28ca4f294d2e89cf4c51b252323452d2512a4a2d2ecd292956b28a8ead05007a98902920000000', '\x5b5d'),
	(2954436539251952740, -5274846001640282715, 9089080473086769509, 20, 1, '\x7b226964223a32302c226e616d65223a224b696c6e204472657373222c22736c6f67616e223a224669726564206f6e6365222c226465736372697074696f6e223a22537469666620666f722061206461792e2020536f66742061667465722e5c74433a5c5c74696e5c5c222c2263617465676f7279223a224472657373222c2264656661756c745f7072696365223a22313138222c226665617475726573223a5b7b2266656174757265223a22437574222c2276616c7565223a224c6f6f7365227d5d7d', '\x1f8b08000000000004ffab562a28ca4f294d2e89cf4c51b252323250d2512a4a2d2ecd292956b28aae562a2ea9cc4905cb191aeb28e525e6a62a5929f9e7e5542a046797162be928e51765a667e625e6c417146526a72a5929191a5a28e9281527e6a4c284f24a737274945252d3124b734aec95ac4a8a4a5375940a32f24bf22196946494e626e52566e6c49716e5c0d4c399b5b13a4ac5d9a5c54a56d54a86464a56d54a85a58979259925954a56a63a4ac59955a94a564ac14ab5b5b5b1b500cb36db5cd0000000', '\x5b315d');
INSERT INTO catalog_prev.features VALUES
	(28, 1, 1, 'Fabric', 'Waxed "Halley" Cotton'),
	(67, 2, 1, 'Lifetime Guarantee', NULL),
	(97, 3, 1, 'Motto', 'null'),
	(116, 5, 2, 'Cut', ''),
	(129, 4, 2, 'UV Protection', NULL),
	(154, 6, 7, 'Sole', 'Rope & Cork;  tarred'),
	(229, 9, 1, 'Sewn In', 'C:\tin\'),
	(253, 10, 20, 'Cut', 'Loose');
INSERT INTO catalog_prev.photos VALUES
	(29, 1, 1, 'https://photos.example/1?w=800&q=80', 'https://photos.example/1?w=300&q=80'),
	(109, 3, 2, 'https://photos.example/3?w=800&q=80', 'https://photos.example/3?w=300&q=80'),
	(189, 2, 2, 'https://photos.example/2?w=800&q=80', 'https://photos.example/2?w=300&q=80'),
	(269, 5, 3, 'https://photos.example/5?w=800&q=80', 'uhttps://photos.example/5?w=300&q=80'),
	(350, 6, 3, 'https://photos.example/6?w=800&q=80', 'https://photos.example/6?w=300&q=80'),
	(429, 7, 5, 'https://photos.example/7?w=800&q=80', 'https://photos.example/7?w=300&q=80'),
	(509, 8, 5, 'https://photos.example/8?w=800&q=80', 'https://photos.example/8?w=300&q=80'),
	(1000, 11, 10, 'https://photos.example/11?w=800&q=80', 'https://photos.example/11?w=300&q=80'),
	(1084, 15, 10, 'https://photos.example/15?w=800&q=80', 'https://photos.example/15?w=300&q=80');
INSERT INTO catalog_prev.products VALUES
	(50, 1, 1, 185, 1, 'Thistle Raincoat', 'Weather is only weather', 'Waxed by hand  and meant to last; it creaks a little, then it doesn''t.', 'Coat'),
	(181, 2, 2, 22, 1, 'O''Hara''s "Plain" Cap', 'Shade & nothing else', '', 'Cap'),
	(243, 4, 3, 0, 1, 'Größe Socks', 'Zwei Füße, ein Paar', 'Knitted in Łódź for cold naïve feet 🧦; don''t boil.', 'Socks'),
	(355, 7, 4, 500000000, 1, 'Barge Boots', 'Wide, dry, slow', 'Soles you can hear coming', 'Boots'),
	(607, 20, 7, 118, 1, 'Kiln Dress', 'Fired once', 'Stiff for a day.  Soft after.	C:\tin\', 'Dress'),
	(518, 9, 5, 64, 1, 'Tollgate Trousers', 'Pay on the way out', 'Two pleats, "four" pockets.', 'Trousers'),
	(435, 12, 6, 5, 1, 'Ferry Ticket Pocket', 'Keeps one thing', 'A pocket, sold alone.', 'Accessories');
INSERT INTO catalog_prev.related VALUES
	(41, 1, 1, 2),
	(47, 2, 1, 7),
	(53, 3, 1, 7),
	(59, 4, 1, 1),
	(71, 6, 2, 9),
	(77, 8, 2, 4),
	(83, 7, 2, 12),
	(105, 11, 20, 1),
	(113, 12, 1, 20);
INSERT INTO catalog_prev.skus VALUES
	(25, 1, 1, 8, 'XS'),
	(36, 2, 1, 16, 'S'),
	(48, 3, 1, 15, 'XL'),
	(60, 4, 1, 4, 'XL'),
	(71, 8, 2, 3, 'One Size'),
	(88, 7, 2, 0, '12.5'),
	(101, 10, 5, 2147483647, 'M'),
	(121, 11, 9, 1, '7.5'),
	(134, 12, 13, 5, 'S'),
	(198, 16, 1, 2, 'XXL'),
	(223, 18, 6, 2, 'null');
INSERT INTO catalog_prev.styles VALUES
	(58, 1, 1, 185, NULL, true, 'Slate & Moss'),
	(88, 2, 1, 185, 0, false, 'Ochre; Undyed'),
	(116, 3, 1, 200, 139, false, 'Tar'),
	(136, 6, 2, 22, NULL, false, 'Straw'),
	(158, 5, 2, 22, 18, true, 'Ink'),
	(176, 8, 7, 500000000, NULL, false, 'Bare'),
	(204, 9, 9, 64, NULL, false, 'Grey'),
	(225, 10, 9, 0, 0, false, 'Only Photos'),
	(250, 13, 20, 118, NULL, true, 'Only Skus'),
	(349, 17, 1, 185, NULL, false, 'Late');
INSERT INTO etl.load OVERRIDING SYSTEM VALUE VALUES
	(1, 'small', 'published', NULL, '2026-11-26 16:27:18.67993+00', '2026-11-26 16:27:18.955547+00', '/srv/datasets/small', false),
	(2, 'small', 'published', NULL, '2026-11-26 16:27:18.986287+00', '2026-11-26 16:27:19.258043+00', '/srv/datasets/small', false);
INSERT INTO etl.load_file VALUES
	(1, 'product.csv', 971, '1795709864961234520', 12, 0, 5, 7, 0.011436006, 1, false),
	(1, 'related.csv', 120, '1795709864961234520', 12, 0, 3, 9, 0.010512094, 1, false),
	(1, 'features.csv', 299, '1795709864961234520', 11, 1, 3, 8, 0.009676011, 1, false),
	(1, 'styles.csv', 371, '1795709864961234520', 13, 0, 3, 10, 0.005876879, 1, false),
	(1, 'cart.csv', 64, '1795709864959340117', 3, 0, 1, 2, 0.004724157, 1, false),
	(1, 'photos.csv', 1166, '1795709864961234520', 15, 3, 6, 9, 0.006352585, 1, false),
	(1, 'skus.csv', 245, '1795709864961234520', 18, 1, 7, 11, 0.013881689, 1, false),
	(2, 'product.csv', 971, '1795709864961234520', 12, 0, 5, 7, 0.008616277, 1, false),
	(2, 'related.csv', 120, '1795709864961234520', 12, 0, 3, 9, 0.006931705, 1, false),
	(2, 'styles.csv', 371, '1795709864961234520', 13, 0, 3, 10, 0.006407057, 1, false),
	(2, 'features.csv', 299, '1795709864961234520', 11, 1, 3, 8, 0.006223924, 1, false),
	(2, 'cart.csv', 64, '1795709864959340117', 3, 0, 1, 2, 0.003705039, 1, false),
	(2, 'photos.csv', 1166, '1795709864961234520', 15, 3, 6, 9, 0.008245327, 1, false),
	(2, 'skus.csv', 245, '1795709864961234520', 18, 1, 7, 11, 0.007017318, 1, false);
INSERT INTO etl.load_part VALUES
	(1, 'photos.csv', 0, 1166, 1166, true, 1, 10, false),
	(1, 'product.csv', 0, 971, 971, true, 1, 2, false),
	(1, 'styles.csv', 0, 371, 371, true, 1, 1, false),
	(1, 'features.csv', 0, 299, 299, true, 1, 20, false),
	(1, 'skus.csv', 0, 245, 245, true, 1, 6, false),
	(1, 'related.csv', 0, 120, 120, true, 1, 1, false),
	(1, 'cart.csv', 0, 64, 64, true, 1, 3, true),
	(2, 'product.csv', 0, 971, 971, true, 1, 2, false),
	(2, 'photos.csv', 0, 1166, 1166, true, 1, 10, false),
	(2, 'features.csv', 0, 299, 299, true, 1, 20, false),
	(2, 'styles.csv', 0, 371, 371, true, 1, 1, false),
	(2, 'skus.csv', 0, 245, 245, true, 1, 6, false),
	(2, 'related.csv', 0, 120, 120, true, 1, 1, false),
	(2, 'cart.csv', 0, 64, 64, true, 1, 3, true);
INSERT INTO etl.publication OVERRIDING SYSTEM VALUE VALUES
	(1, 1, 'publish', '2026-11-26 16:27:18.955547+00'),
	(2, 2, 'publish', '2026-11-26 16:27:19.258043+00');
INSERT INTO etl.reject VALUES
	(1, 'product.csv', 688, 9, 'default_price', 'null where a value must be', 70, '\x32312c2246726565206f6620436861726765222c224e6f7468696e672061736b6564222c22412070726963652074686174206973206e6f6e652e222c22486174222c6e756c6c'),
	(1, 'product.csv', 759, 10, 'id', 'not a whole number from 1 to 2147483647', 53, '\x6162632c224c65747465726564222c224279206e616d65222c22416e206964206f66206c6574746572732e222c22486174222c3130'),
	(1, 'product.csv', 813, 11, NULL, '6 fields expected, 2 found', 14, '\x32322c224375742053686f727422'),
	(1, 'product.csv', 828, 12, 'id', 'an earlier row has this id', 68, '\x322c225365636f6e6420436170222c2253616d65206e756d626572222c22416e206964207468617420776173207468657265206265666f72652e222c22436170222c3233'),
	(1, 'product.csv', 897, 13, 'id', 'not a whole number from 1 to 2147483647', 74, '\x323134373438333634382c224265796f6e64222c22506173742074686520656e64222c22416e2069642074686174206e6f20696e746567657220686f6c64732e222c22486174222c3130'),
	(1, 'features.csv', 188, 8, 'product_id', 'no such product', 20, '\x372c39392c22536f6c65222c2252756262657222'),
	(1, 'features.csv', 209, 9, 'feature', 'null where a value must be', 19, '\x382c392c6e756c6c2c224e616d656c65737322'),
	(1, 'features.csv', 272, 12, NULL, '4 fields expected, 5 found', 27, '\x31312c312c22466162726963222c22576f6f6c222c2246656c7422'),
	(1, 'styles.csv', 279, 11, 'productId', 'no such product', 21, '\x31342c39382c224c6f7374222c6e756c6c2c312c31'),
	(1, 'styles.csv', 301, 12, 'original_price', 'not a whole number from 0 to 2147483647', 22, '\x31352c32302c2244656172222c6e756c6c2c2d352c30'),
	(1, 'styles.csv', 324, 13, 'default_style', 'not 0 or 1', 24, '\x31362c32302c224d61796265222c6e756c6c2c3131382c32'),
	(1, 'photos.csv', 588, 9, 'styleId', 'no such style', 80, '\x392c31342c2268747470733a2f2f70686f746f732e6578616d706c652f393f773d38303026713d3830222c2268747470733a2f2f70686f746f732e6578616d706c652f393f773d33303026713d383022'),
	(1, 'photos.csv', 669, 10, 'styleId', 'no such style', 83, '\x31302c37372c2268747470733a2f2f70686f746f732e6578616d706c652f31303f773d38303026713d3830222c2268747470733a2f2f70686f746f732e6578616d706c652f31303f773d33303026713d383022'),
	(1, 'photos.csv', 753, 11, 'thumbnail_url', 'null where a value must be', 48, '\x31322c392c2268747470733a2f2f70686f746f732e6578616d706c652f31323f773d38303026713d3830222c6e756c6c'),
	(1, 'photos.csv', 802, 12, NULL, '4 fields expected, 3 found', 43, '\x31332c392c2268747470733a2f2f70686f746f732e6578616d706c652f31333f773d38303026713d383022'),
	(1, 'photos.csv', 846, 13, 'url', 'text after the closing quote', 87, '\x31342c392c2268747470733a2f2f70686f746f732e6578616d706c652f31343f773d38303026713d383022266d6f72652c2268747470733a2f2f70686f746f732e6578616d706c652f31343f773d33303026713d383022'),
	(1, 'photos.csv', 934, 14, NULL, 'not UTF-8', 65, '\x31362c392c2268747470733a2f2f70686f746f732e6578616d706c652fff222c2268747470733a2f2f70686f746f732e6578616d706c652f31363f773d33303022'),
	(1, 'skus.csv', 146, 11, 'id', 'an earlier row has this id', 11, '\x31322c31332c224d222c36'),
	(1, 'skus.csv', 158, 12, 'styleId', 'no such style', 11, '\x31332c31342c224c222c32'),
	(1, 'skus.csv', 170, 13, 'quantity', 'null where a value must be', 13, '\x31342c332c224c222c6e756c6c'),
	(1, 'skus.csv', 184, 14, 'quantity', 'not a whole number from 0 to 2147483647', 12, '\x31352c332c224c222c312e35'),
	(1, 'skus.csv', 197, 15, NULL, 'blank line', 0, '\x'),
	(1, 'skus.csv', 211, 17, 'size', 'null where a value must be', 11, '\x31372c362c6e756c6c2c33'),
	(1, 'skus.csv', 237, 19, NULL, '4 fields expected, 3 found', 8, '\x31392c352c224c22'),
	(1, 'related.csv', 65, 6, 'related_product_id', 'no such product', 5, '\x352c312c30'),
	(1, 'related.csv', 90, 10, 'current_product_id', 'no such product', 6, '\x392c39382c31'),
	(1, 'related.csv', 97, 11, 'related_product_id', 'no such product', 7, '\x31302c372c3939'),
	(1, 'cart.csv', 44, 3, 'product_id', 'no such product', 10, '\x322c3530312c39392c31'),
	(2, 'product.csv', 688, 9, 'default_price', 'null where a value must be', 70, '\x32312c2246726565206f6620436861726765222c224e6f7468696e672061736b6564222c22412070726963652074686174206973206e6f6e652e222c22486174222c6e756c6c'),
	(2, 'product.csv', 813, 11, NULL, '6 fields expected, 2 found', 14, '\x32322c224375742053686f727422'),
	(2, 'features.csv', 188, 8, 'product_id', 'no such product', 20, '\x372c39392c22536f6c65222c2252756262657222'),
	(2, 'features.csv', 209, 9, 'feature', 'null where a value must be', 19, '\x382c392c6e756c6c2c224e616d656c65737322'),
	(2, 'features.csv', 272, 12, NULL, '4 fields expected, 5 found', 27, '\x31312c312c22466162726963222c22576f6f6c222c2246656c7422'),
	(2, 'styles.csv', 279, 11, 'productId', 'no such product', 21, '\x31342c39382c224c6f7374222c6e756c6c2c312c31'),
	(2, 'styles.csv', 301, 12, 'original_price', 'not a whole number from 0 to 2147483647', 22, '\x31352c32302c2244656172222c6e756c6c2c2d352c30'),
	(2, 'styles.csv', 324, 13, 'default_style', 'not 0 or 1', 24, '\x31362c32302c224d61796265222c6e756c6c2c3131382c32'),
	(2, 'photos.csv', 588, 9, 'styleId', 'no such style', 80, '\x392c31342c2268747470733a2f2f70686f746f732e6578616d706c652f393f773d38303026713d3830222c2268747470733a2f2f70686f746f732e6578616d706c652f393f773d33303026713d383022'),
	(2, 'photos.csv', 669, 10, 'styleId', 'no such style', 83, '\x31302c37372c2268747470733a2f2f70686f746f732e6578616d706c652f31303f773d38303026713d3830222c2268747470733a2f2f70686f746f732e6578616d706c652f31303f773d33303026713d383022'),
	(2, 'photos.csv', 753, 11, 'thumbnail_url', 'null where a value must be', 48, '\x31322c392c2268747470733a2f2f70686f746f732e6578616d706c652f31323f773d38303026713d3830222c6e756c6c'),
	(2, 'photos.csv', 802, 12, NULL, '4 fields expected, 3 found', 43, '\x31332c392c2268747470733a2f2f70686f746f732e6578616d706c652f31333f773d38303026713d383022'),
	(2, 'skus.csv', 146, 11, 'id', 'an earlier row has this id', 11, '\x31322c31332c224d222c36'),
	(2, 'skus.csv', 158, 12, 'styleId', 'no such style', 11, '\x31332c31342c224c222c32'),
	(2, 'skus.csv', 170, 13, 'quantity', 'null where a value must be', 13, '\x31342c332c224c222c6e756c6c'),
	(2, 'skus.csv', 184, 14, 'quantity', 'not a whole number from 0 to 2147483647', 12, '\x31352c332c224c222c312e35'),
	(2, 'skus.csv', 197, 15, NULL, 'blank line', 0, '\x'),
	(2, 'skus.csv', 211, 17, 'size', 'null where a value must be', 11, '\x31372c362c6e756c6c2c33'),
	(2, 'skus.csv', 237, 19, NULL, '4 fields expected, 3 found', 8, '\x31392c352c224c22'),
	(2, 'related.csv', 65, 6, 'related_product_id', 'no such product', 5, '\x352c312c30'),
	(2, 'related.csv', 90, 10, 'current_product_id', 'no such product', 6, '\x392c39382c31'),
	(2, 'related.csv', 97, 11, 'related_product_id', 'no such product', 7, '\x31302c372c3939'),
	(2, 'cart.csv', 44, 3, 'product_id', 'no such product', 10, '\x322c3530312c39392c31'),
	(2, 'product.csv', 759, 10, 'id', 'not a whole number from 1 to 2147483647', 53, '\x6162632c224c65747465726564222c224279206e616d65222c22416e206964206f66206c6574746572732e222c22486174222c3130'),
	(2, 'product.csv', 828, 12, 'id', 'an earlier row has this id', 68, '\x322c225365636f6e6420436170222c2253616d65206e756d626572222c22416e206964207468617420776173207468657265206265666f72652e222c22436170222c3233'),
	(2, 'product.csv', 897, 13, 'id', 'not a whole number from 1 to 2147483647', 74, '\x323134373438333634382c224265796f6e64222c22506173742074686520656e64222c22416e2069642074686174206e6f20696e746567657220686f6c64732e222c22486174222c3130'),
	(2, 'photos.csv', 846, 13, 'url', 'text after the closing quote', 87, '\x31342c392c2268747470733a2f2f70686f746f732e6578616d706c652f31343f773d38303026713d383022266d6f72652c2268747470733a2f2f70686f746f732e6578616d706c652f31343f773d33303026713d383022'),
	(2, 'photos.csv', 934, 14, NULL, 'not UTF-8', 65, '\x31362c392c2268747470733a2f2f70686f746f732e6578616d706c652fff222c2268747470733a2f2f70686f746f732e6578616d706c652f31363f773d33303022');
INSERT INTO public.refinery_schema_history VALUES
	(1, 'load_record', '2026-11-26T16:27:18.624124839Z', '2228437288238692233'),
	(2, 'cart', '2026-11-26T16:27:18.633710837Z', '15655794085499154601'),
	(3, 'load_from_s3', '2026-11-26T16:27:18.639417002Z', '17525273055794764367');
SELECT pg_catalog.setval('cart.carts_id_seq', 2, true);
SELECT pg_catalog.setval('cart.lines_added_id_seq', 2, true);
SELECT pg_catalog.setval('etl.load_generation_seq', 2, true);
SELECT pg_catalog.setval('etl.publication_id_seq', 2, true);
ALTER TABLE ONLY cart.carts
    ADD CONSTRAINT carts_owner_key UNIQUE (owner);
ALTER TABLE ONLY cart.carts
    ADD CONSTRAINT carts_pkey PRIMARY KEY (id);
ALTER TABLE ONLY cart.lines
    ADD CONSTRAINT lines_pkey PRIMARY KEY (cart_id, sku_id);
ALTER TABLE ONLY catalog.cart
    ADD CONSTRAINT cart_pkey PRIMARY KEY (id);
ALTER TABLE ONLY catalog.documents
    ADD CONSTRAINT documents_pkey PRIMARY KEY (product_id);
ALTER TABLE ONLY catalog.features
    ADD CONSTRAINT features_pkey PRIMARY KEY (id);
ALTER TABLE ONLY catalog.photos
    ADD CONSTRAINT photos_pkey PRIMARY KEY (id);
ALTER TABLE ONLY catalog.products
    ADD CONSTRAINT products_pkey PRIMARY KEY (id);
ALTER TABLE ONLY catalog.related
    ADD CONSTRAINT related_pkey PRIMARY KEY (id);
ALTER TABLE ONLY catalog.skus
    ADD CONSTRAINT skus_pkey PRIMARY KEY (id);
ALTER TABLE ONLY catalog.styles
    ADD CONSTRAINT styles_pkey PRIMARY KEY (id);
ALTER TABLE ONLY catalog_prev.cart
    ADD CONSTRAINT cart_pkey PRIMARY KEY (id);
ALTER TABLE ONLY catalog_prev.documents
    ADD CONSTRAINT documents_pkey PRIMARY KEY (product_id);
ALTER TABLE ONLY catalog_prev.features
    ADD CONSTRAINT features_pkey PRIMARY KEY (id);
ALTER TABLE ONLY catalog_prev.photos
    ADD CONSTRAINT photos_pkey PRIMARY KEY (id);
ALTER TABLE ONLY catalog_prev.products
    ADD CONSTRAINT products_pkey PRIMARY KEY (id);
ALTER TABLE ONLY catalog_prev.related
    ADD CONSTRAINT related_pkey PRIMARY KEY (id);
ALTER TABLE ONLY catalog_prev.skus
    ADD CONSTRAINT skus_pkey PRIMARY KEY (id);
ALTER TABLE ONLY catalog_prev.styles
    ADD CONSTRAINT styles_pkey PRIMARY KEY (id);
ALTER TABLE ONLY etl.incoming_file
    ADD CONSTRAINT incoming_file_pkey PRIMARY KEY (source, file);
ALTER TABLE ONLY etl.incoming
    ADD CONSTRAINT incoming_pkey PRIMARY KEY (source);
ALTER TABLE ONLY etl.load_file
    ADD CONSTRAINT load_file_pkey PRIMARY KEY (generation, file);
ALTER TABLE ONLY etl.load_part
    ADD CONSTRAINT load_part_pkey PRIMARY KEY (generation, file, first_offset);
ALTER TABLE ONLY etl.load
    ADD CONSTRAINT load_pkey PRIMARY KEY (generation);
ALTER TABLE ONLY etl.publication
    ADD CONSTRAINT publication_pkey PRIMARY KEY (id);
ALTER TABLE ONLY etl.reject
    ADD CONSTRAINT reject_pkey PRIMARY KEY (generation, file, byte_offset);
ALTER TABLE ONLY public.refinery_schema_history
    ADD CONSTRAINT refinery_schema_history_pkey PRIMARY KEY (version);
CREATE INDEX carts_touched_at ON cart.carts USING btree (touched_at);
CREATE INDEX features_product_id ON catalog.features USING btree (product_id, "position");
CREATE INDEX photos_style_id ON catalog.photos USING btree (style_id, "position");
CREATE UNIQUE INDEX products_rank ON catalog.products USING btree (rank);
CREATE INDEX related_product_id ON catalog.related USING btree (product_id, "position");
CREATE INDEX skus_style_id ON catalog.skus USING btree (style_id, "position");
CREATE INDEX styles_product_id ON catalog.styles USING btree (product_id, "position");
CREATE INDEX features_product_id ON catalog_prev.features USING btree (product_id, "position");
CREATE INDEX photos_style_id ON catalog_prev.photos USING btree (style_id, "position");
CREATE UNIQUE INDEX products_rank ON catalog_prev.products USING btree (rank);
CREATE INDEX related_product_id ON catalog_prev.related USING btree (product_id, "position");
CREATE INDEX skus_style_id ON catalog_prev.skus USING btree (style_id, "position");
CREATE INDEX styles_product_id ON catalog_prev.styles USING btree (product_id, "position");
ALTER TABLE ONLY cart.lines
    ADD CONSTRAINT lines_cart_id_fkey FOREIGN KEY (cart_id) REFERENCES cart.carts(id) ON DELETE CASCADE;
ALTER TABLE ONLY catalog.cart
    ADD CONSTRAINT cart_product_id_fkey FOREIGN KEY (product_id) REFERENCES catalog.products(id);
ALTER TABLE ONLY catalog.features
    ADD CONSTRAINT features_product_id_fkey FOREIGN KEY (product_id) REFERENCES catalog.products(id);
ALTER TABLE ONLY catalog.photos
    ADD CONSTRAINT photos_style_id_fkey FOREIGN KEY (style_id) REFERENCES catalog.styles(id);
ALTER TABLE ONLY catalog.related
    ADD CONSTRAINT related_product_id_fkey FOREIGN KEY (product_id) REFERENCES catalog.products(id);
ALTER TABLE ONLY catalog.related
    ADD CONSTRAINT related_related_product_id_fkey FOREIGN KEY (related_product_id) REFERENCES catalog.products(id);
ALTER TABLE ONLY catalog.skus
    ADD CONSTRAINT skus_style_id_fkey FOREIGN KEY (style_id) REFERENCES catalog.styles(id);
ALTER TABLE ONLY catalog.styles
    ADD CONSTRAINT styles_product_id_fkey FOREIGN KEY (product_id) REFERENCES catalog.products(id);
ALTER TABLE ONLY catalog_prev.cart
    ADD CONSTRAINT cart_product_id_fkey FOREIGN KEY (product_id) REFERENCES catalog_prev.products(id);
ALTER TABLE ONLY catalog_prev.features
    ADD CONSTRAINT features_product_id_fkey FOREIGN KEY (product_id) REFERENCES catalog_prev.products(id);
ALTER TABLE ONLY catalog_prev.photos
    ADD CONSTRAINT photos_style_id_fkey FOREIGN KEY (style_id) REFERENCES catalog_prev.styles(id);
ALTER TABLE ONLY catalog_prev.related
    ADD CONSTRAINT related_product_id_fkey FOREIGN KEY (product_id) REFERENCES catalog_prev.products(id);
ALTER TABLE ONLY catalog_prev.related
    ADD CONSTRAINT related_related_product_id_fkey FOREIGN KEY (related_product_id) REFERENCES catalog_prev.products(id);
ALTER TABLE ONLY catalog_prev.skus
    ADD CONSTRAINT skus_style_id_fkey FOREIGN KEY (style_id) REFERENCES catalog_prev.styles(id);
ALTER TABLE ONLY catalog_prev.styles
    ADD CONSTRAINT styles_product_id_fkey FOREIGN KEY (product_id) REFERENCES catalog_prev.products(id);
ALTER TABLE ONLY etl.incoming_file
    ADD CONSTRAINT incoming_file_generation_fkey FOREIGN KEY (generation) REFERENCES etl.load(generation) ON DELETE CASCADE;
ALTER TABLE ONLY etl.incoming_file
    ADD CONSTRAINT incoming_file_source_fkey FOREIGN KEY (source) REFERENCES etl.incoming(source) ON DELETE CASCADE;
ALTER TABLE ONLY etl.load_file
    ADD CONSTRAINT load_file_generation_fkey FOREIGN KEY (generation) REFERENCES etl.load(generation) ON DELETE CASCADE;
ALTER TABLE ONLY etl.load_part
    ADD CONSTRAINT load_part_generation_file_fkey FOREIGN KEY (generation, file) REFERENCES etl.load_file(generation, file) ON DELETE CASCADE;
ALTER TABLE ONLY etl.publication
    ADD CONSTRAINT publication_generation_fkey FOREIGN KEY (generation) REFERENCES etl.load(generation);
ALTER TABLE ONLY etl.reject
    ADD CONSTRAINT reject_generation_file_fkey FOREIGN KEY (generation, file) REFERENCES etl.load_file(generation, file) ON DELETE CASCADE;
GRANT USAGE ON SCHEMA cart TO atelier_cart;
GRANT USAGE ON SCHEMA cart TO atelier_loader;
GRANT USAGE ON SCHEMA catalog TO atelier_reader;
GRANT USAGE ON SCHEMA catalog TO atelier_cart;
GRANT USAGE ON SCHEMA catalog_prev TO atelier_reader;
GRANT USAGE ON SCHEMA catalog_prev TO atelier_cart;
GRANT USAGE ON SCHEMA etl TO atelier_loader;
GRANT USAGE ON SCHEMA etl TO atelier_reader;
REVOKE ALL ON FUNCTION cart.add(cart_owner bytea, added_sku_id integer, added_count integer) FROM PUBLIC;
GRANT ALL ON FUNCTION cart.add(cart_owner bytea, added_sku_id integer, added_count integer) TO atelier_cart;
GRANT SELECT,INSERT,UPDATE ON TABLE cart.carts TO atelier_cart;
GRANT SELECT,DELETE ON TABLE cart.carts TO atelier_loader;
GRANT SELECT,INSERT,UPDATE ON TABLE cart.lines TO atelier_cart;
GRANT SELECT,DELETE ON TABLE cart.lines TO atelier_loader;
GRANT SELECT ON TABLE catalog.documents TO atelier_reader;
GRANT SELECT ON TABLE catalog.products TO atelier_reader;
GRANT SELECT ON TABLE catalog.skus TO atelier_cart;
GRANT SELECT ON TABLE catalog_prev.documents TO atelier_reader;
GRANT SELECT ON TABLE catalog_prev.products TO atelier_reader;
GRANT SELECT ON TABLE catalog_prev.skus TO atelier_cart;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE etl.incoming TO atelier_loader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE etl.incoming_file TO atelier_loader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE etl.load TO atelier_loader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE etl.load_file TO atelier_loader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE etl.load_part TO atelier_loader;
GRANT SELECT,INSERT ON TABLE etl.publication TO atelier_loader;
GRANT SELECT ON TABLE etl.publication TO atelier_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE etl.reject TO atelier_loader;
GRANT SELECT ON TABLE public.refinery_schema_history TO atelier_loader;
