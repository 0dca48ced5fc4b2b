--
-- PostgreSQL database dump
--


-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

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

--
-- Name: drop_partitions(text, timestamp with time zone); Type: FUNCTION; Schema: public; Owner: postgres
--

CREATE FUNCTION public.drop_partitions(parent text, before timestamp with time zone) RETURNS SETOF text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public'
    AS $$
DECLARE child record;
BEGIN
  IF parent NOT IN ('reading', 'record', 'minute') THEN RAISE EXCEPTION 'no partitioned table %', parent; END IF;
  FOR child IN
    SELECT c.relname, (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''([^'']+)''\)'))[1]::timestamptz AS ends
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = parent::regclass
  LOOP
    IF child.ends <= before THEN
      EXECUTE format('DROP TABLE %I', child.relname);
      RETURN NEXT child.relname;
    END IF;
  END LOOP;
END $$;


ALTER FUNCTION public.drop_partitions(parent text, before timestamp with time zone) OWNER TO postgres;

--
-- Name: make_partition(text, timestamp with time zone); Type: FUNCTION; Schema: public; Owner: postgres
--

CREATE FUNCTION public.make_partition(parent text, at timestamp with time zone) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public'
    AS $$
DECLARE
  unit text := CASE WHEN parent = 'minute' THEN 'month' ELSE 'week' END;
  begins timestamptz := date_trunc(unit, at, 'UTC');
  ends timestamptz := date_trunc(unit, begins + CASE unit WHEN 'week' THEN interval '8 days' ELSE interval '40 days' END, 'UTC');
  child text := parent || '_' || to_char(begins AT TIME ZONE 'UTC', 'YYYYMMDD');
BEGIN
  IF parent NOT IN ('reading', 'record', 'minute') THEN RAISE EXCEPTION 'no partitioned table %', parent; END IF;
  IF to_regclass(child) IS NULL THEN
    PERFORM pg_advisory_xact_lock(hashtext(child));  -- two workers reach a new week at the same moment
    IF to_regclass(child) IS NULL THEN
      EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', child, parent, begins, ends);
      EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO ievcc_fog', child);
    END IF;
  END IF;
  RETURN child;
END $$;


ALTER FUNCTION public.make_partition(parent text, at timestamp with time zone) OWNER TO postgres;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: alembic_version; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);


ALTER TABLE public.alembic_version OWNER TO postgres;

--
-- Name: device; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.device (
    id integer NOT NULL,
    site_id integer NOT NULL,
    name text NOT NULL,
    kind text DEFAULT ''::text NOT NULL,
    role text DEFAULT ''::text NOT NULL,
    model text DEFAULT ''::text NOT NULL,
    firmware text DEFAULT ''::text NOT NULL,
    phases smallint DEFAULT 1 NOT NULL,
    max_a integer,
    first_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT device_kind_check CHECK ((kind = ANY (ARRAY[''::text, 'counter'::text, 'charger'::text, 'manager'::text])))
);


ALTER TABLE public.device OWNER TO postgres;

--
-- Name: device_id_seq; Type: SEQUENCE; Schema: public; Owner: postgres
--

CREATE SEQUENCE public.device_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


ALTER TABLE public.device_id_seq OWNER TO postgres;

--
-- Name: device_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: postgres
--

ALTER SEQUENCE public.device_id_seq OWNED BY public.device.id;


--
-- Name: device_state; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.device_state (
    device_id integer NOT NULL,
    boot integer NOT NULL,
    seq bigint NOT NULL,
    first_at timestamp with time zone,
    last_at timestamp with time zone,
    raw_wh bigint[] NOT NULL,
    counted_wh bigint NOT NULL
)
WITH (fillfactor='50');


ALTER TABLE public.device_state OWNER TO postgres;

--
-- Name: feeder; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.feeder (
    id integer NOT NULL,
    region_id integer NOT NULL,
    name text NOT NULL,
    limit_w integer NOT NULL,
    CONSTRAINT feeder_limit_w_check CHECK ((limit_w > 0))
);


ALTER TABLE public.feeder OWNER TO postgres;

--
-- Name: feeder_id_seq; Type: SEQUENCE; Schema: public; Owner: postgres
--

CREATE SEQUENCE public.feeder_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


ALTER TABLE public.feeder_id_seq OWNER TO postgres;

--
-- Name: feeder_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: postgres
--

ALTER SEQUENCE public.feeder_id_seq OWNED BY public.feeder.id;


--
-- Name: gap; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.gap (
    device_id integer NOT NULL,
    from_at timestamp with time zone NOT NULL,
    to_at timestamp with time zone NOT NULL
);


ALTER TABLE public.gap OWNER TO postgres;

--
-- Name: kafka_offset; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.kafka_offset (
    topic text NOT NULL,
    partition integer NOT NULL,
    next bigint NOT NULL
);


ALTER TABLE public.kafka_offset OWNER TO postgres;

--
-- Name: minute; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.minute (
    device_id integer NOT NULL,
    at timestamp with time zone NOT NULL,
    n integer NOT NULL,
    energy_wh integer NOT NULL,
    estimated_wh integer NOT NULL,
    power_sum_w bigint NOT NULL,
    power_max_w integer,
    current_max_ma integer
)
PARTITION BY RANGE (at);


ALTER TABLE public.minute OWNER TO postgres;

--
-- Name: minute_20261101; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.minute_20261101 (
    device_id integer NOT NULL,
    at timestamp with time zone NOT NULL,
    n integer NOT NULL,
    energy_wh integer NOT NULL,
    estimated_wh integer NOT NULL,
    power_sum_w bigint NOT NULL,
    power_max_w integer,
    current_max_ma integer
);


ALTER TABLE public.minute_20261101 OWNER TO postgres;

--
-- Name: quarter; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.quarter (
    device_id integer NOT NULL,
    at timestamp with time zone NOT NULL,
    n integer NOT NULL,
    energy_wh integer NOT NULL,
    estimated_wh integer NOT NULL,
    power_sum_w bigint NOT NULL,
    power_max_w integer,
    current_max_ma integer
)
WITH (fillfactor='80');


ALTER TABLE public.quarter OWNER TO postgres;

--
-- Name: reading; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.reading (
    device_id integer NOT NULL,
    boot integer NOT NULL,
    seq integer NOT NULL,
    at timestamp with time zone NOT NULL,
    energy_wh bigint NOT NULL,
    counted_wh bigint NOT NULL,
    flags smallint NOT NULL,
    session integer,
    session_wh integer,
    power_w1 integer,
    current_ma1 integer,
    voltage_dv1 smallint,
    power_w2 integer,
    current_ma2 integer,
    voltage_dv2 smallint,
    power_w3 integer,
    current_ma3 integer,
    voltage_dv3 smallint
)
PARTITION BY RANGE (at);


ALTER TABLE public.reading OWNER TO postgres;

--
-- Name: reading_20261123; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.reading_20261123 (
    device_id integer NOT NULL,
    boot integer NOT NULL,
    seq integer NOT NULL,
    at timestamp with time zone NOT NULL,
    energy_wh bigint NOT NULL,
    counted_wh bigint NOT NULL,
    flags smallint NOT NULL,
    session integer,
    session_wh integer,
    power_w1 integer,
    current_ma1 integer,
    voltage_dv1 smallint,
    power_w2 integer,
    current_ma2 integer,
    voltage_dv2 smallint,
    power_w3 integer,
    current_ma3 integer,
    voltage_dv3 smallint
);


ALTER TABLE public.reading_20261123 OWNER TO postgres;

--
-- Name: record; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.record (
    device_id integer NOT NULL,
    boot integer NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL,
    at timestamp with time zone NOT NULL,
    flags smallint NOT NULL,
    fields jsonb NOT NULL
)
PARTITION BY RANGE (at);


ALTER TABLE public.record OWNER TO postgres;

--
-- Name: record_20261123; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.record_20261123 (
    device_id integer NOT NULL,
    boot integer NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL,
    at timestamp with time zone NOT NULL,
    flags smallint NOT NULL,
    fields jsonb NOT NULL
);


ALTER TABLE public.record_20261123 OWNER TO postgres;

--
-- Name: region; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.region (
    id integer NOT NULL,
    name text NOT NULL
);


ALTER TABLE public.region OWNER TO postgres;

--
-- Name: region_id_seq; Type: SEQUENCE; Schema: public; Owner: postgres
--

CREATE SEQUENCE public.region_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


ALTER TABLE public.region_id_seq OWNER TO postgres;

--
-- Name: region_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: postgres
--

ALTER SEQUENCE public.region_id_seq OWNED BY public.region.id;


--
-- Name: session; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.session (
    device_id integer NOT NULL,
    number integer NOT NULL,
    started_at timestamp with time zone,
    ended_at timestamp with time zone,
    energy_wh integer,
    how text,
    why text,
    card text
);


ALTER TABLE public.session OWNER TO postgres;

--
-- Name: site; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.site (
    id integer NOT NULL,
    name text NOT NULL,
    title text DEFAULT ''::text NOT NULL,
    feeder_id integer,
    timezone text DEFAULT 'Europe/Madrid'::text NOT NULL,
    limit_a integer DEFAULT 0 NOT NULL,
    phases smallint DEFAULT 1 NOT NULL,
    key_version integer DEFAULT 1 NOT NULL,
    active boolean DEFAULT true NOT NULL,
    CONSTRAINT site_name_check CHECK ((name ~ '^[A-Za-z0-9_-]{1,24}$'::text)),
    CONSTRAINT site_phases_check CHECK (((phases >= 1) AND (phases <= 3)))
);


ALTER TABLE public.site OWNER TO postgres;

--
-- Name: site_id_seq; Type: SEQUENCE; Schema: public; Owner: postgres
--

CREATE SEQUENCE public.site_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


ALTER TABLE public.site_id_seq OWNER TO postgres;

--
-- Name: site_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: postgres
--

ALTER SEQUENCE public.site_id_seq OWNED BY public.site.id;


--
-- Name: minute_20261101; Type: TABLE ATTACH; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.minute ATTACH PARTITION public.minute_20261101 FOR VALUES FROM ('2026-11-01 00:00:00+00') TO ('2026-12-01 00:00:00+00');


--
-- Name: reading_20261123; Type: TABLE ATTACH; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.reading ATTACH PARTITION public.reading_20261123 FOR VALUES FROM ('2026-11-23 00:00:00+00') TO ('2026-11-30 00:00:00+00');


--
-- Name: record_20261123; Type: TABLE ATTACH; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.record ATTACH PARTITION public.record_20261123 FOR VALUES FROM ('2026-11-23 00:00:00+00') TO ('2026-11-30 00:00:00+00');


--
-- Name: device id; Type: DEFAULT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.device ALTER COLUMN id SET DEFAULT nextval('public.device_id_seq'::regclass);


--
-- Name: feeder id; Type: DEFAULT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.feeder ALTER COLUMN id SET DEFAULT nextval('public.feeder_id_seq'::regclass);


--
-- Name: region id; Type: DEFAULT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.region ALTER COLUMN id SET DEFAULT nextval('public.region_id_seq'::regclass);


--
-- Name: site id; Type: DEFAULT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.site ALTER COLUMN id SET DEFAULT nextval('public.site_id_seq'::regclass);


--
-- Data for Name: alembic_version; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.alembic_version (version_num) FROM stdin;
0001
\.


--
-- Data for Name: device; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.device (id, site_id, name, kind, role, model, firmware, phases, max_a, first_at) FROM stdin;
1	1	meter-1					1	\N	2026-11-23 21:41:48.181998+00
\.


--
-- Data for Name: device_state; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.device_state (device_id, boot, seq, first_at, last_at, raw_wh, counted_wh) FROM stdin;
1	1	40	2026-11-23 00:00:01+00	2026-11-23 00:00:40+00	{40}	39
\.


--
-- Data for Name: feeder; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.feeder (id, region_id, name, limit_w) FROM stdin;
\.


--
-- Data for Name: gap; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.gap (device_id, from_at, to_at) FROM stdin;
\.


--
-- Data for Name: kafka_offset; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.kafka_offset (topic, partition, next) FROM stdin;
ievcc.intake	0	40
\.


--
-- Data for Name: minute_20261101; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.minute_20261101 (device_id, at, n, energy_wh, estimated_wh, power_sum_w, power_max_w, current_max_ma) FROM stdin;
1	2026-11-23 00:00:00+00	40	39	0	147200	3680	16000
\.


--
-- Data for Name: quarter; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.quarter (device_id, at, n, energy_wh, estimated_wh, power_sum_w, power_max_w, current_max_ma) FROM stdin;
1	2026-11-23 00:00:00+00	40	39	0	147200	3680	16000
\.


--
-- Data for Name: reading_20261123; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.reading_20261123 (device_id, boot, seq, at, energy_wh, counted_wh, flags, session, session_wh, power_w1, current_ma1, voltage_dv1, power_w2, current_ma2, voltage_dv2, power_w3, current_ma3, voltage_dv3) FROM stdin;
1	1	1	2026-11-23 00:00:01+00	1	0	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	2	2026-11-23 00:00:02+00	2	1	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	3	2026-11-23 00:00:03+00	3	2	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	4	2026-11-23 00:00:04+00	4	3	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	5	2026-11-23 00:00:05+00	5	4	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	6	2026-11-23 00:00:06+00	6	5	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	7	2026-11-23 00:00:07+00	7	6	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	8	2026-11-23 00:00:08+00	8	7	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	9	2026-11-23 00:00:09+00	9	8	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	10	2026-11-23 00:00:10+00	10	9	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	11	2026-11-23 00:00:11+00	11	10	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	12	2026-11-23 00:00:12+00	12	11	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	13	2026-11-23 00:00:13+00	13	12	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	14	2026-11-23 00:00:14+00	14	13	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	15	2026-11-23 00:00:15+00	15	14	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	16	2026-11-23 00:00:16+00	16	15	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	17	2026-11-23 00:00:17+00	17	16	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	18	2026-11-23 00:00:18+00	18	17	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	19	2026-11-23 00:00:19+00	19	18	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	20	2026-11-23 00:00:20+00	20	19	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	21	2026-11-23 00:00:21+00	21	20	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	22	2026-11-23 00:00:22+00	22	21	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	23	2026-11-23 00:00:23+00	23	22	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	24	2026-11-23 00:00:24+00	24	23	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	25	2026-11-23 00:00:25+00	25	24	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	26	2026-11-23 00:00:26+00	26	25	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	27	2026-11-23 00:00:27+00	27	26	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	28	2026-11-23 00:00:28+00	28	27	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	29	2026-11-23 00:00:29+00	29	28	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	30	2026-11-23 00:00:30+00	30	29	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	31	2026-11-23 00:00:31+00	31	30	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	32	2026-11-23 00:00:32+00	32	31	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	33	2026-11-23 00:00:33+00	33	32	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	34	2026-11-23 00:00:34+00	34	33	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	35	2026-11-23 00:00:35+00	35	34	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	36	2026-11-23 00:00:36+00	36	35	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	37	2026-11-23 00:00:37+00	37	36	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	38	2026-11-23 00:00:38+00	38	37	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	39	2026-11-23 00:00:39+00	39	38	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
1	1	40	2026-11-23 00:00:40+00	40	39	0	\N	\N	3680	16000	2300	\N	\N	\N	\N	\N	\N
\.


--
-- Data for Name: record_20261123; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.record_20261123 (device_id, boot, seq, kind, at, flags, fields) FROM stdin;
\.


--
-- Data for Name: region; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.region (id, name) FROM stdin;
\.


--
-- Data for Name: session; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.session (device_id, number, started_at, ended_at, energy_wh, how, why, card) FROM stdin;
\.


--
-- Data for Name: site; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.site (id, name, title, feeder_id, timezone, limit_a, phases, key_version, active) FROM stdin;
1	house		\N	Europe/Madrid	0	1	1	t
\.


--
-- Name: device_id_seq; Type: SEQUENCE SET; Schema: public; Owner: postgres
--

SELECT pg_catalog.setval('public.device_id_seq', 1, true);


--
-- Name: feeder_id_seq; Type: SEQUENCE SET; Schema: public; Owner: postgres
--

SELECT pg_catalog.setval('public.feeder_id_seq', 1, false);


--
-- Name: region_id_seq; Type: SEQUENCE SET; Schema: public; Owner: postgres
--

SELECT pg_catalog.setval('public.region_id_seq', 1, false);


--
-- Name: site_id_seq; Type: SEQUENCE SET; Schema: public; Owner: postgres
--

SELECT pg_catalog.setval('public.site_id_seq', 1, true);


--
-- Name: alembic_version alembic_version_pkc; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);


--
-- Name: device device_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.device
    ADD CONSTRAINT device_pkey PRIMARY KEY (id);


--
-- Name: device device_site_id_name_key; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.device
    ADD CONSTRAINT device_site_id_name_key UNIQUE (site_id, name);


--
-- Name: device_state device_state_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.device_state
    ADD CONSTRAINT device_state_pkey PRIMARY KEY (device_id);


--
-- Name: feeder feeder_name_key; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.feeder
    ADD CONSTRAINT feeder_name_key UNIQUE (name);


--
-- Name: feeder feeder_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.feeder
    ADD CONSTRAINT feeder_pkey PRIMARY KEY (id);


--
-- Name: gap gap_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.gap
    ADD CONSTRAINT gap_pkey PRIMARY KEY (device_id, from_at);


--
-- Name: kafka_offset kafka_offset_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.kafka_offset
    ADD CONSTRAINT kafka_offset_pkey PRIMARY KEY (topic, partition);


--
-- Name: minute minute_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.minute
    ADD CONSTRAINT minute_pkey PRIMARY KEY (device_id, at);


--
-- Name: minute_20261101 minute_20261101_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.minute_20261101
    ADD CONSTRAINT minute_20261101_pkey PRIMARY KEY (device_id, at);


--
-- Name: quarter quarter_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.quarter
    ADD CONSTRAINT quarter_pkey PRIMARY KEY (device_id, at);


--
-- Name: reading reading_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.reading
    ADD CONSTRAINT reading_pkey PRIMARY KEY (device_id, boot, seq, at);


--
-- Name: reading_20261123 reading_20261123_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.reading_20261123
    ADD CONSTRAINT reading_20261123_pkey PRIMARY KEY (device_id, boot, seq, at);


--
-- Name: record record_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.record
    ADD CONSTRAINT record_pkey PRIMARY KEY (device_id, boot, seq, at);


--
-- Name: record_20261123 record_20261123_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.record_20261123
    ADD CONSTRAINT record_20261123_pkey PRIMARY KEY (device_id, boot, seq, at);


--
-- Name: region region_name_key; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.region
    ADD CONSTRAINT region_name_key UNIQUE (name);


--
-- Name: region region_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.region
    ADD CONSTRAINT region_pkey PRIMARY KEY (id);


--
-- Name: session session_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.session
    ADD CONSTRAINT session_pkey PRIMARY KEY (device_id, number);


--
-- Name: site site_name_key; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.site
    ADD CONSTRAINT site_name_key UNIQUE (name);


--
-- Name: site site_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.site
    ADD CONSTRAINT site_pkey PRIMARY KEY (id);


--
-- Name: quarter_by_time; Type: INDEX; Schema: public; Owner: postgres
--

CREATE INDEX quarter_by_time ON public.quarter USING btree (at);


--
-- Name: reading_by_time; Type: INDEX; Schema: public; Owner: postgres
--

CREATE INDEX reading_by_time ON ONLY public.reading USING brin (at);


--
-- Name: reading_20261123_at_idx; Type: INDEX; Schema: public; Owner: postgres
--

CREATE INDEX reading_20261123_at_idx ON public.reading_20261123 USING brin (at);


--
-- Name: record_by_time; Type: INDEX; Schema: public; Owner: postgres
--

CREATE INDEX record_by_time ON ONLY public.record USING btree (at, kind);


--
-- Name: record_20261123_at_kind_idx; Type: INDEX; Schema: public; Owner: postgres
--

CREATE INDEX record_20261123_at_kind_idx ON public.record_20261123 USING btree (at, kind);


--
-- Name: session_by_time; Type: INDEX; Schema: public; Owner: postgres
--

CREATE INDEX session_by_time ON public.session USING btree (started_at);


--
-- Name: minute_20261101_pkey; Type: INDEX ATTACH; Schema: public; Owner: postgres
--

ALTER INDEX public.minute_pkey ATTACH PARTITION public.minute_20261101_pkey;


--
-- Name: reading_20261123_at_idx; Type: INDEX ATTACH; Schema: public; Owner: postgres
--

ALTER INDEX public.reading_by_time ATTACH PARTITION public.reading_20261123_at_idx;


--
-- Name: reading_20261123_pkey; Type: INDEX ATTACH; Schema: public; Owner: postgres
--

ALTER INDEX public.reading_pkey ATTACH PARTITION public.reading_20261123_pkey;


--
-- Name: record_20261123_at_kind_idx; Type: INDEX ATTACH; Schema: public; Owner: postgres
--

ALTER INDEX public.record_by_time ATTACH PARTITION public.record_20261123_at_kind_idx;


--
-- Name: record_20261123_pkey; Type: INDEX ATTACH; Schema: public; Owner: postgres
--

ALTER INDEX public.record_pkey ATTACH PARTITION public.record_20261123_pkey;


--
-- Name: device device_site_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.device
    ADD CONSTRAINT device_site_id_fkey FOREIGN KEY (site_id) REFERENCES public.site(id);


--
-- Name: device_state device_state_device_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.device_state
    ADD CONSTRAINT device_state_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.device(id);


--
-- Name: feeder feeder_region_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.feeder
    ADD CONSTRAINT feeder_region_id_fkey FOREIGN KEY (region_id) REFERENCES public.region(id);


--
-- Name: gap gap_device_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.gap
    ADD CONSTRAINT gap_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.device(id);


--
-- Name: session session_device_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.session
    ADD CONSTRAINT session_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.device(id);


--
-- Name: site site_feeder_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.site
    ADD CONSTRAINT site_feeder_id_fkey FOREIGN KEY (feeder_id) REFERENCES public.feeder(id);


--
-- Name: SCHEMA public; Type: ACL; Schema: -; Owner: pg_database_owner
--

GRANT USAGE ON SCHEMA public TO ievcc_fog;
GRANT USAGE ON SCHEMA public TO ievcc_api;


--
-- Name: FUNCTION drop_partitions(parent text, before timestamp with time zone); Type: ACL; Schema: public; Owner: postgres
--

REVOKE ALL ON FUNCTION public.drop_partitions(parent text, before timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.drop_partitions(parent text, before timestamp with time zone) TO ievcc_fog;


--
-- Name: FUNCTION make_partition(parent text, at timestamp with time zone); Type: ACL; Schema: public; Owner: postgres
--

REVOKE ALL ON FUNCTION public.make_partition(parent text, at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.make_partition(parent text, at timestamp with time zone) TO ievcc_fog;


--
-- Name: TABLE alembic_version; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.alembic_version TO ievcc_fog;


--
-- Name: TABLE device; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.device TO ievcc_fog;


--
-- Name: SEQUENCE device_id_seq; Type: ACL; Schema: public; Owner: postgres
--

GRANT USAGE ON SEQUENCE public.device_id_seq TO ievcc_fog;


--
-- Name: TABLE device_state; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.device_state TO ievcc_fog;


--
-- Name: TABLE feeder; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.feeder TO ievcc_fog;


--
-- Name: SEQUENCE feeder_id_seq; Type: ACL; Schema: public; Owner: postgres
--

GRANT USAGE ON SEQUENCE public.feeder_id_seq TO ievcc_fog;


--
-- Name: TABLE gap; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.gap TO ievcc_fog;


--
-- Name: TABLE kafka_offset; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.kafka_offset TO ievcc_fog;


--
-- Name: TABLE minute; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.minute TO ievcc_fog;


--
-- Name: TABLE minute_20261101; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.minute_20261101 TO ievcc_fog;


--
-- Name: TABLE quarter; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.quarter TO ievcc_fog;


--
-- Name: TABLE reading; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.reading TO ievcc_fog;


--
-- Name: TABLE reading_20261123; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.reading_20261123 TO ievcc_fog;


--
-- Name: TABLE record; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.record TO ievcc_fog;


--
-- Name: TABLE record_20261123; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.record_20261123 TO ievcc_fog;


--
-- Name: TABLE region; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.region TO ievcc_fog;


--
-- Name: SEQUENCE region_id_seq; Type: ACL; Schema: public; Owner: postgres
--

GRANT USAGE ON SEQUENCE public.region_id_seq TO ievcc_fog;


--
-- Name: TABLE session; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.session TO ievcc_fog;


--
-- Name: TABLE site; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.site TO ievcc_fog;


--
-- Name: SEQUENCE site_id_seq; Type: ACL; Schema: public; Owner: postgres
--

GRANT USAGE ON SEQUENCE public.site_id_seq TO ievcc_fog;


--
-- PostgreSQL database dump complete
--


