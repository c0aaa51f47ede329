-- The whole schema. Creates only, locks nothing that exists; to undo: DROP SCHEMA noetl CASCADE.
-- schema.sql beside this folder is the same, annotated column by column.
-- Values of playbooks are `json`, not `jsonb`: it keeps the order of keys and every character.

CREATE TABLE noetl.catalog (
  catalog_id    bigint PRIMARY KEY,
  path          text NOT NULL CHECK (path <> ''),
  version       integer NOT NULL CHECK (version > 0),
  kind          text NOT NULL,
  content       text NOT NULL,
  content_hash  text NOT NULL,
  document      json NOT NULL,
  description   text,
  labels        jsonb NOT NULL DEFAULT '{}',
  created_at    timestamptz NOT NULL DEFAULT now(),
  UNIQUE (path, version)
);

CREATE TABLE noetl.execution (
  execution_id  bigint PRIMARY KEY,
  catalog_id    bigint,
  path          text NOT NULL,
  version       integer,
  parent_id     bigint,
  root_id       bigint NOT NULL,
  depth         integer NOT NULL DEFAULT 0,
  return_step   text,
  is_waited     boolean NOT NULL DEFAULT false,
  status        text NOT NULL
    CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
  seq           integer NOT NULL,
  payload       json NOT NULL,
  pool          text,
  priority      smallint,
  result        json,
  error         json,
  dedup_key     text,
  created_at    timestamptz NOT NULL DEFAULT now(),
  ended_at      timestamptz,
  CHECK ((ended_at IS NULL) = (status IN ('pending', 'running')))
) WITH (fillfactor = 80);

-- Serves listExecutions by status, countExecutions, sweepDue (pending children).
CREATE INDEX execution_status ON noetl.execution (status, execution_id);
-- Serves listExecutions by parent.
CREATE INDEX execution_parent ON noetl.execution (parent_id, execution_id)
  WHERE parent_id IS NOT NULL;

CREATE TABLE noetl.dedup (
  dedup_key     text PRIMARY KEY,
  execution_id  bigint NOT NULL,
  expires_at    timestamptz NOT NULL
) WITH (fillfactor = 80);

-- Serves deleteExpiredDedup.
CREATE INDEX dedup_expired ON noetl.dedup (expires_at);

CREATE TABLE noetl.event (
  execution_id  bigint NOT NULL,
  seq           integer NOT NULL CHECK (seq > 0),
  type          text NOT NULL,
  step          text,
  occurred_at   timestamptz NOT NULL,
  payload       json NOT NULL,
  PRIMARY KEY (execution_id, seq)
) PARTITION BY RANGE (execution_id);

CREATE TABLE noetl.event_default PARTITION OF noetl.event DEFAULT;

CREATE TABLE noetl.command (
  execution_id  bigint NOT NULL,
  command_id    bigint NOT NULL,
  event_seq     integer NOT NULL,
  step          text NOT NULL,
  visit         integer NOT NULL,
  loop_index    integer,
  tool          text NOT NULL,
  pool          text NOT NULL CHECK (pool <> ''),
  priority      smallint NOT NULL,
  status        text NOT NULL CHECK (status IN ('queued', 'running', 'cancelling')),
  attempt       integer NOT NULL DEFAULT 1 CHECK (attempt > 0),
  worker_id     text,
  available_at  timestamptz NOT NULL,
  claimed_at    timestamptz,
  lease_until   timestamptz,
  notified_at   timestamptz,
  created_at    timestamptz NOT NULL DEFAULT now(),
  payload       json NOT NULL,
  PRIMARY KEY (execution_id, command_id),
  CHECK ((status = 'queued') = (lease_until IS NULL)),
  CHECK (status <> 'running' OR worker_id IS NOT NULL)
) WITH (fillfactor = 70);

-- Serves poolDepths and listForgotten.
CREATE INDEX command_queued ON noetl.command (pool, available_at) WHERE status = 'queued';
-- Serves sweepDue (commands that nobody was told of).
CREATE INDEX command_unnotified ON noetl.command (available_at)
  WHERE status = 'queued' AND notified_at IS NULL;
-- Serves sweepDue (expired leases) and dropLeases. The lease is not in it, so renewing stays cheap.
CREATE INDEX command_held ON noetl.command (worker_id) WHERE status <> 'queued';

CREATE TABLE noetl.timer (
  execution_id  bigint NOT NULL,
  timer_id      bigint NOT NULL,
  due_at        timestamptz NOT NULL,
  input         json NOT NULL,
  PRIMARY KEY (execution_id, timer_id)
);

-- Serves sweepDue.
CREATE INDEX timer_due ON noetl.timer (due_at);

CREATE TABLE noetl.result (
  execution_id  bigint NOT NULL,
  sha256        text NOT NULL,
  name          text NOT NULL,
  size          bigint NOT NULL,
  stored_size   bigint NOT NULL,
  created_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (execution_id, sha256)
);

CREATE TABLE noetl.result_chunk (
  execution_id  bigint NOT NULL,
  sha256        text NOT NULL,
  position      integer NOT NULL,
  data          bytea NOT NULL,
  PRIMARY KEY (execution_id, sha256, position)
);

ALTER TABLE noetl.result_chunk ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE TABLE noetl.worker (
  worker_id     text PRIMARY KEY,
  name          text NOT NULL,
  pool          text NOT NULL CHECK (pool <> ''),
  slots         integer NOT NULL CHECK (slots > 0),
  hostname      text NOT NULL,
  pid           integer NOT NULL,
  version       text NOT NULL,
  tools         text[] NOT NULL,
  labels        jsonb NOT NULL,
  metrics_url   text,
  registered_at timestamptz NOT NULL DEFAULT now(),
  heartbeat_at  timestamptz NOT NULL DEFAULT now(),
  held_count    integer NOT NULL DEFAULT 0,
  free_slots    integer NOT NULL,
  pull_age_ms   integer NOT NULL DEFAULT 0,
  lag_ms        real NOT NULL DEFAULT 0,
  rss_bytes     bigint NOT NULL DEFAULT 0,
  cpu_percent   real NOT NULL DEFAULT 0,
  is_draining   boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);

CREATE TABLE noetl.credential (
  credential_id bigint PRIMARY KEY,
  name          text NOT NULL UNIQUE CHECK (name <> ''),
  type          text NOT NULL,
  sealed        text NOT NULL,
  description   text,
  tags          text[] NOT NULL DEFAULT '{}',
  meta          jsonb NOT NULL DEFAULT '{}',
  created_at    timestamptz NOT NULL DEFAULT now(),
  updated_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE noetl.keychain (
  cache_key     text PRIMARY KEY,
  sealed        text NOT NULL,
  expires_at    timestamptz,
  updated_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE noetl.node (
  node          smallint PRIMARY KEY CHECK (node BETWEEN 0 AND 1023),
  holder        text NOT NULL,
  lease_until   timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE noetl.bus (
  name          text PRIMARY KEY,
  stream        text NOT NULL
);
