-- Triggers: schedules with their firings, subscriptions with what they were given. New tables only,
-- nothing is locked; to undo by hand, drop them.

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

-- Serves listDispatches and removeOldDispatches.
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
