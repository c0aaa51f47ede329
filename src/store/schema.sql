-- The current schema, for readers. test/integration/store/migrate.test.ts applies it and the
-- migrations to two databases and compares them. Times are the database's own clock throughout.

-- Which migrations have run. The row goes in first, so that two migrations at once collide.
CREATE TABLE noetl.schema_version (
  version       integer PRIMARY KEY,
  name          text NOT NULL,
  -- An older binary must not run on the result.
  is_breaking   boolean NOT NULL,
  applied_at    timestamptz NOT NULL DEFAULT now()
);

-- Immutable versions of playbooks.
CREATE TABLE noetl.catalog (
  catalog_id    bigint PRIMARY KEY,
  path          text NOT NULL CHECK (path <> ''),
  version       integer NOT NULL CHECK (version > 0),          -- from 1 for each path, no gaps
  kind          text NOT NULL,                                 -- `playbook`
  content       text NOT NULL,                                 -- the document as it was registered
  content_hash  text NOT NULL,                                 -- SHA-256 of content, hex
  document      json NOT NULL,                                 -- parsed form, see src/dsl/playbook.ts
  description   text,
  labels        jsonb NOT NULL DEFAULT '{}',
  created_at    timestamptz NOT NULL DEFAULT now(),
  archived_at   timestamptz,                                   -- out of use since; null = in use
  UNIQUE (path, version)
);

-- One row per execution: the head of its log and what lists show of it.
CREATE TABLE noetl.execution (
  execution_id  bigint PRIMARY KEY,                            -- time-ordered
  catalog_id    bigint,                                        -- null until a child has started
  path          text NOT NULL,
  version       integer,                                       -- of a pending child: asked for, null = latest
  parent_id     bigint,
  root_id       bigint NOT NULL,                               -- of a root: itself
  depth         integer NOT NULL DEFAULT 0,
  return_step   text,                                          -- step whose value the parent wants
  is_waited     boolean NOT NULL DEFAULT false,                -- the parent is told of the end
  status        text NOT NULL
    CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
  seq           integer NOT NULL,                              -- last event; 0 = not started
  payload       json NOT NULL,                                 -- of the request
  pool          text,                                          -- named by the request
  priority      smallint,                                      -- named by the request
  result        json,                                          -- of a completed one
  error         json,                                          -- of a failed one: a Failure
  dedup_key     text,
  created_at    timestamptz NOT NULL DEFAULT now(),
  ended_at      timestamptz,
  -- Of a playbook that limits how many of its executions run at once, see admission.ts:
  concurrency_key   text,                                      -- null: not limited, or not known yet
  concurrency_limit integer CHECK (concurrency_limit > 0),
  on_limit          text CHECK (on_limit IN ('queue', 'reject', 'cancel_oldest')),
  queue_priority    smallint,
  -- Held by the unfinished row itself; of one that has ended: nobody has passed it on yet, or it is
  -- reserved for a moment because the execution is about to go on.
  place             text CHECK (place IN ('queued', 'held', 'reserved')),
  place_since       timestamptz,
  cancels           bigint,                                    -- whose place a queued one is to get
  origin_id         bigint,                                    -- execution that it comes from
  origin_kind       text CHECK (origin_kind IN ('retry', 'rerun')),
  trace             text,                                      -- traceparent of who asked for it; null: nobody traced it
  CHECK ((ended_at IS NULL) = (status IN ('pending', 'running'))),
  CHECK (place IS NULL OR (
    concurrency_key IS NOT NULL AND concurrency_limit IS NOT NULL AND on_limit IS NOT NULL
    AND queue_priority IS NOT NULL AND place_since IS NOT NULL
  )),
  CHECK ((origin_id IS NULL) = (origin_kind IS NULL))
) WITH (fillfactor = 80);

-- Serves listExecutions by status, countExecutions.
CREATE INDEX execution_status ON noetl.execution (status, execution_id);
-- Serves listExecutions by playbook and by path.
CREATE INDEX execution_catalog ON noetl.execution (catalog_id, execution_id);
-- Serves listExecutions by parent.
CREATE INDEX execution_parent ON noetl.execution (parent_id, execution_id)
  WHERE parent_id IS NOT NULL;
-- Serves listExecutions by origin.
CREATE INDEX execution_origin ON noetl.execution (origin_id, execution_id)
  WHERE origin_id IS NOT NULL;

-- Serves admitQueued and queue positions.
CREATE INDEX execution_queued
  ON noetl.execution (concurrency_key, queue_priority DESC, place_since, execution_id)
  WHERE place = 'queued' AND ended_at IS NULL;
-- Serves chooseVictims.
CREATE INDEX execution_taking ON noetl.execution (concurrency_key, place_since, execution_id)
  WHERE place = 'queued' AND ended_at IS NULL AND on_limit = 'cancel_oldest';
-- Serves admitQueued and chooseVictims.
CREATE INDEX execution_held ON noetl.execution (concurrency_key, place_since, execution_id)
  WHERE place = 'held' AND ended_at IS NULL;
-- Serves admitQueued and sweepDue (places that nobody has passed on).
CREATE INDEX execution_freed ON noetl.execution (concurrency_key)
  WHERE place IS NOT NULL AND ended_at IS NOT NULL;
-- Serves sweepDue (executions that were to be started by whoever made or admitted them).
CREATE INDEX execution_unstarted ON noetl.execution (execution_id)
  WHERE status = 'pending' AND place IS DISTINCT FROM 'queued';

-- Which execution a dedup key stands for, until it expires.
CREATE TABLE noetl.dedup (
  dedup_key     text PRIMARY KEY,
  execution_id  bigint NOT NULL,
  expires_at    timestamptz NOT NULL
) WITH (fillfactor = 80);

-- Serves deleteExpiredDedup.
CREATE INDEX dedup_expired ON noetl.dedup (expires_at);

-- What happened, append-only. Ids are ordered by time, so that ranges of them can be partitions,
-- dropped as a whole; the default partition takes what has no range of its own.
CREATE TABLE noetl.event (
  execution_id  bigint NOT NULL,
  seq           integer NOT NULL CHECK (seq > 0),              -- 1, 2, 3 … of each execution
  type          text NOT NULL,                                 -- payload's type, for filters
  step          text,                                          -- payload's step, for filters
  occurred_at   timestamptz NOT NULL,
  payload       json NOT NULL,                                 -- see src/engine/event.ts
  PRIMARY KEY (execution_id, seq)
) PARTITION BY RANGE (execution_id);

CREATE TABLE noetl.event_default PARTITION OF noetl.event DEFAULT;

-- Open commands only: the row goes in the commit that records the outcome.
CREATE TABLE noetl.command (
  execution_id  bigint NOT NULL,
  command_id    bigint NOT NULL,
  event_seq     integer NOT NULL,                              -- position of its command.issued
  step          text NOT NULL,
  visit         integer NOT NULL,
  loop_index    integer,
  tool          text NOT NULL,                                 -- kind of its first task
  pool          text NOT NULL CHECK (pool <> ''),
  priority      smallint NOT NULL,
  status        text NOT NULL CHECK (status IN ('queued', 'running', 'cancelling')),
  attempt       integer NOT NULL DEFAULT 1 CHECK (attempt > 0),-- the fence
  worker_id     text,                                          -- null: nobody has it
  available_at  timestamptz NOT NULL,                          -- not to be claimed before
  claimed_at    timestamptz,
  lease_until   timestamptz,                                   -- of running and cancelling ones
  notified_at   timestamptz,                                   -- written late, for rows still open
  created_at    timestamptz NOT NULL DEFAULT now(),
  payload       json NOT NULL,                                 -- see src/engine/command.ts
  bell_id       bigint,                                        -- notification that brought it for another
  gpu_demand    json,                                          -- a GpuDemand, see src/engine/gpu.ts
  gpus          json,                                          -- GpuGrants that it holds, of this attempt
  waits_for     text,                                          -- why it has no GPUs yet, for people
  queue_until   timestamptz,                                   -- still queued then: it fails
  queue_error   json,                                          -- the Failure that it was taken out with
  PRIMARY KEY (execution_id, command_id),
  CHECK ((status = 'queued') = (lease_until IS NULL)),
  CHECK (status <> 'running' OR worker_id IS NOT NULL)
) WITH (fillfactor = 70);

-- Serves claimCommands (more urgent ones), poolDepths and listForgotten.
CREATE INDEX command_queued ON noetl.command (pool, priority DESC, available_at)
  WHERE status = 'queued';
-- Serves claimCommands (is anything in the pool more urgent than usual?).
CREATE INDEX command_urgent ON noetl.command (pool, available_at)
  WHERE status = 'queued' AND priority > 5 AND gpu_demand IS NULL;
-- Serves sweepDue (commands that nobody was told of).
CREATE INDEX command_unnotified ON noetl.command (available_at)
  WHERE status = 'queued' AND notified_at IS NULL;
-- Serves sweepDue (expired leases) and dropLeases. The lease is not in it, so renewing stays cheap.
CREATE INDEX command_held ON noetl.command (worker_id) WHERE status <> 'queued';
-- Serves claimGpus, listGpuHolders and readLeases: GPUs that are not free.
CREATE INDEX command_gpus ON noetl.command (worker_id) WHERE gpus IS NOT NULL;
-- Serves claimGpus (who comes first), readScene and listGpuWaiters.
CREATE INDEX command_gpu_queue ON noetl.command (pool, priority DESC, available_at)
  WHERE status = 'queued' AND gpu_demand IS NOT NULL;
-- Serves sweepDue and takeOverdue: commands that have waited too long.
CREATE INDEX command_queue_until ON noetl.command (queue_until)
  WHERE status = 'queued' AND queue_until IS NOT NULL;

-- Wake-ups of executions: engine timers, ends of children, cancels from a parent. The row goes in
-- the commit that acted on it.
CREATE TABLE noetl.timer (
  execution_id  bigint NOT NULL,                               -- the one to wake
  timer_id      bigint NOT NULL,
  due_at        timestamptz NOT NULL,
  input         json NOT NULL,                                 -- a WakeUp, see append.ts
  PRIMARY KEY (execution_id, timer_id)
);

-- Serves sweepDue.
CREATE INDEX timer_due ON noetl.timer (due_at);

-- Bytes of stored values, once for each execution and content.
CREATE TABLE noetl.result_body (
  execution_id  bigint NOT NULL,
  sha256        text NOT NULL,                                 -- of the value's bytes, hex
  body_id       bigint NOT NULL,                               -- key of the frames
  type          text NOT NULL,                                 -- of the JSON value, or `binary`
  size          bigint NOT NULL,                               -- bytes of the value
  stored_size   bigint NOT NULL,                               -- bytes after zstd
  store         text NOT NULL CHECK (store IN ('postgres', 's3')),
  frames        text NOT NULL,                                 -- bytes of each frame, comma-separated
  created_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (execution_id, sha256)
);

-- Names of stored values: what references point to.
CREATE TABLE noetl.result (
  execution_id  bigint NOT NULL,                               -- of scope workflow: the root's
  sha256        text NOT NULL,
  name          text NOT NULL CHECK (name <> ''),              -- step, `ctx.NAME`, or an artifact's
  step          text,                                          -- that made it
  scope         text NOT NULL CHECK (scope IN ('step', 'execution', 'workflow', 'permanent')),
  content_type  text NOT NULL,
  created_at    timestamptz NOT NULL DEFAULT now(),
  expires_at    timestamptz,                                   -- null: by scope alone
  PRIMARY KEY (execution_id, sha256, name),
  FOREIGN KEY (execution_id, sha256) REFERENCES noetl.result_body
);

-- Serves removeExpired.
CREATE INDEX result_expired ON noetl.result (expires_at) WHERE expires_at IS NOT NULL;
-- Serves removeStepScoped.
CREATE INDEX result_of_step ON noetl.result (execution_id) WHERE scope = 'step';
-- Serves listHolders.
CREATE INDEX result_removable ON noetl.result (execution_id) WHERE scope <> 'permanent';

-- Frames of bodies in PostgreSQL: 1 MiB of the value each, the last one less; zstd.
CREATE TABLE noetl.result_chunk (
  body_id       bigint NOT NULL,
  position      integer NOT NULL,                              -- from 0
  data          bytea NOT NULL,
  PRIMARY KEY (body_id, position)
);

-- Compressed already.
ALTER TABLE noetl.result_chunk ALTER COLUMN data SET STORAGE EXTERNAL;

-- Bytes that nobody may read, yet or any more, and when they are to be removed.
CREATE TABLE noetl.result_loose (
  body_id       bigint PRIMARY KEY,
  execution_id  bigint NOT NULL,
  store         text NOT NULL,
  due_at        timestamptz NOT NULL,
  -- Being removed: no upload may make it readable any more.
  is_taken      boolean NOT NULL DEFAULT false
);

-- Serves takeLoose.
CREATE INDEX result_loose_due ON noetl.result_loose (due_at);

-- Workers as they last described themselves.
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
  is_draining   boolean NOT NULL DEFAULT false,
  gpus          json,                                          -- see Gpu in src/engine/gpu.ts
  runtimes      json                                           -- RuntimeFacts, usable ones first
) WITH (fillfactor = 50);

-- Credentials of playbooks, encrypted; see src/secrets/sealing.ts.
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

-- Tokens fetched with credentials and values of keychain entries, encrypted, until they expire; see
-- src/orchestrator/keychain-cache.ts.
CREATE TABLE noetl.keychain (
  cache_key     text PRIMARY KEY,
  sealed        text,                                          -- null while fetched for the first time
  expires_at    timestamptz,
  updated_at    timestamptz NOT NULL DEFAULT now(),            -- when the value was fetched
  name          text NOT NULL DEFAULT '',                      -- alias in the playbook, or credential
  scope         text NOT NULL DEFAULT 'shared' CHECK (scope IN ('local', 'global', 'shared')),
  catalog_id    bigint,                                        -- of the playbook; null if shared
  execution_id  bigint,                                        -- that asked first; renewed on its behalf
  version       integer NOT NULL DEFAULT 0,                    -- grows with each value
  auto_renew    boolean NOT NULL DEFAULT false,
  renew_at      timestamptz,                                   -- ahead of expires_at, while in use
  lease_until   timestamptz,                                   -- somebody fetches a new value
  access_count  bigint NOT NULL DEFAULT 0,
  used_at       timestamptz NOT NULL DEFAULT now(),
  created_at    timestamptz NOT NULL DEFAULT now()
);

-- Serves listKeychain.
CREATE INDEX keychain_catalog ON noetl.keychain (catalog_id, name);
-- Serves sweepDue (entries that are renewed ahead).
CREATE INDEX keychain_renewal ON noetl.keychain (renew_at) WHERE auto_renew;
-- Serves removeExpiredKeychain.
CREATE INDEX keychain_expired ON noetl.keychain (expires_at);

-- Who makes ids with which node number.
CREATE TABLE noetl.node (
  node          smallint PRIMARY KEY CHECK (node BETWEEN 0 AND 1023),
  holder        text NOT NULL,
  lease_until   timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Which incarnation of the command stream the notifications went to.
CREATE TABLE noetl.bus (
  name          text PRIMARY KEY,
  stream        text NOT NULL
);

-- When to start which playbook.
CREATE TABLE noetl.schedule (
  schedule_id   bigint PRIMARY KEY,
  name          text NOT NULL UNIQUE CHECK (name <> ''),
  catalog_id    bigint,                                        -- its document; null: made by the API
  spec          json NOT NULL,                                 -- see src/dsl/schedule.ts
  is_enabled    boolean NOT NULL,
  revision      integer NOT NULL DEFAULT 1,                    -- grows with every change by a person
  anchor_at     timestamptz NOT NULL,                          -- intervals count from here
  next_run_at   timestamptz,                                   -- null: paused, or over
  wake_at       timestamptz,                                   -- when a server must look; while one does: its lease
  claim         integer NOT NULL DEFAULT 0,                    -- grows with each look: the fence of wake_at
  created_at    timestamptz NOT NULL DEFAULT now(),
  updated_at    timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- Serves sweepDue and claimSchedules.
CREATE INDEX schedule_wake ON noetl.schedule (wake_at) WHERE wake_at IS NOT NULL;

-- One row per due time that was met: the row is committed together with the advance of next_run_at,
-- and stands for at most one execution.
CREATE TABLE noetl.schedule_firing (
  schedule_id   bigint NOT NULL REFERENCES noetl.schedule ON DELETE CASCADE,
  due_at        timestamptz NOT NULL,
  kind          text NOT NULL CHECK (kind IN ('scheduled', 'backfill', 'manual')),
  status        text NOT NULL CHECK (status IN ('waiting', 'started', 'skipped', 'failed')),
  not_before    timestamptz NOT NULL,                          -- due_at and its jitter, or the next try
  payload       json,                                          -- of a manual one, instead of the schedule's
  execution_id  bigint,
  is_open       boolean NOT NULL DEFAULT false,                -- started, and not yet seen ended
  reason        text,                                          -- why skipped, failed or still waiting
  created_at    timestamptz NOT NULL DEFAULT now(),
  acted_at      timestamptz,
  PRIMARY KEY (schedule_id, due_at),
  CHECK ((status = 'started') = (execution_id IS NOT NULL))
) WITH (fillfactor = 70);

-- Serves listWaitingFirings and releaseSchedule.
CREATE INDEX schedule_firing_waiting ON noetl.schedule_firing (schedule_id, due_at)
  WHERE status = 'waiting';
-- Serves listOpenFirings.
CREATE INDEX schedule_firing_open ON noetl.schedule_firing (schedule_id) WHERE is_open;
-- Serves listFirings by status: those that are rare.
CREATE INDEX schedule_firing_missed ON noetl.schedule_firing (schedule_id, status, due_at)
  WHERE status IN ('skipped', 'failed');

-- Where messages come from, and who fetches them.
CREATE TABLE noetl.subscription (
  subscription_id bigint PRIMARY KEY,
  path          text NOT NULL UNIQUE CHECK (path <> ''),       -- of its document
  catalog_id    bigint NOT NULL,
  source        text NOT NULL CHECK (source IN ('nats', 'webhook')),
  hook_path     text UNIQUE,                                   -- of a webhook
  spec          json NOT NULL,                                 -- see src/dsl/subscription.ts
  state         text NOT NULL
    CHECK (state IN ('registered', 'active', 'paused', 'draining', 'inactive')),
  revision      integer NOT NULL DEFAULT 1,                    -- grows with every change by a person
  holder        text,                                          -- server that works on it; '': one must
  lease_until   timestamptz,
  circuit       text NOT NULL DEFAULT 'closed' CHECK (circuit IN ('closed', 'open', 'half_open')),
  problem       text,                                          -- why nothing comes in, for people
  tokens        double precision,                              -- left in the rate limit of a webhook
  tokens_at     timestamptz,
  last_event_type text NOT NULL,
  created_at    timestamptz NOT NULL DEFAULT now(),
  updated_at    timestamptz NOT NULL DEFAULT now(),
  CHECK ((source = 'webhook') = (hook_path IS NOT NULL))
) WITH (fillfactor = 50);

-- Serves sweepDue.
CREATE INDEX subscription_held ON noetl.subscription (subscription_id)
  WHERE holder IS NOT NULL OR (source = 'nats' AND state IN ('active', 'draining'));

-- What was taken from a source: first the row, then the acknowledgement, then the execution.
CREATE TABLE noetl.subscription_dispatch (
  dispatch_id   bigint PRIMARY KEY,                            -- time-ordered
  subscription_id bigint NOT NULL REFERENCES noetl.subscription ON DELETE CASCADE,
  status        text NOT NULL CHECK (status IN ('accepted', 'started', 'dead')),
  messages      json,                                          -- list of messages; null once started
  message_count integer NOT NULL CHECK (message_count > 0),
  attempts      integer NOT NULL DEFAULT 0,                    -- tries that failed
  not_before    timestamptz NOT NULL DEFAULT now(),
  execution_id  bigint,
  is_open       boolean NOT NULL DEFAULT false,                -- counts for max_in_flight
  error         text,                                          -- of the last try
  created_at    timestamptz NOT NULL DEFAULT now(),
  acted_at      timestamptz,
  CHECK ((status = 'started') = (execution_id IS NOT NULL))
) WITH (fillfactor = 70);

-- Serves listDispatches; removeOldDispatches goes along the primary key.
CREATE INDEX subscription_dispatch_by_subscription
  ON noetl.subscription_dispatch (subscription_id, dispatch_id);
-- Serves loadAccepted.
CREATE INDEX subscription_dispatch_accepted
  ON noetl.subscription_dispatch (subscription_id, not_before) WHERE status = 'accepted';
-- Serves listDispatches and replayDispatches (dead letters).
CREATE INDEX subscription_dispatch_dead
  ON noetl.subscription_dispatch (subscription_id, dispatch_id) WHERE status = 'dead';
-- Serves countOpenDispatches.
CREATE INDEX subscription_dispatch_open
  ON noetl.subscription_dispatch (subscription_id) WHERE is_open;

-- Messages that were taken, until they are forgotten: `id:` and the source's own id, `key:` and the
-- document's key.
CREATE TABLE noetl.subscription_dedup (
  subscription_id bigint NOT NULL REFERENCES noetl.subscription ON DELETE CASCADE,
  dedup_key     text NOT NULL,
  seen_at       timestamptz NOT NULL DEFAULT now(),
  expires_at    timestamptz NOT NULL,
  PRIMARY KEY (subscription_id, dedup_key)
) WITH (fillfactor = 80);

-- Serves removeExpiredKeys.
CREATE INDEX subscription_dedup_expired ON noetl.subscription_dedup (expires_at);

-- Rate limits, by key; a key without a row has all its permits. Milliseconds since 1970.
CREATE TABLE noetl.rate (
  rate_key      text PRIMARY KEY,
  spent_until   double precision NOT NULL,                     -- permits up to here are given out
  line_until    double precision NOT NULL                      -- times up to here are promised
) WITH (fillfactor = 50);

-- Made once, never changed. Labels the containers of this platform's tasks.
CREATE TABLE noetl.platform (
  is_single     boolean PRIMARY KEY DEFAULT true CHECK (is_single),
  platform_id   uuid NOT NULL DEFAULT gen_random_uuid()
);
