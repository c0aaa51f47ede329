-- breaking
-- Stored values by name, scope and content, in frames that can be read one by one. The bytes may lie
-- in an S3-compatible store as well; the rows here always decide what there is.
--
-- Values stored by 0001, which no release had, are dropped: their executions keep what is inline.
-- Locks: result and result_chunk for the moment of the drop. Undo: by a backup only.

DROP TABLE noetl.result_chunk;
DROP TABLE noetl.result;

-- Bytes of stored values, once for each execution and content.
CREATE TABLE noetl.result_body (
  execution_id  bigint NOT NULL,
  sha256        text NOT NULL,
  body_id       bigint NOT NULL,
  type          text NOT NULL,
  size          bigint NOT NULL,
  stored_size   bigint NOT NULL,
  store         text NOT NULL CHECK (store IN ('postgres', 's3')),
  frames        text NOT NULL,
  created_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (execution_id, sha256)
);

-- Names of stored values: what references point to.
CREATE TABLE noetl.result (
  execution_id  bigint NOT NULL,
  sha256        text NOT NULL,
  name          text NOT NULL CHECK (name <> ''),
  step          text,
  scope         text NOT NULL CHECK (scope IN ('step', 'execution', 'workflow', 'permanent')),
  content_type  text NOT NULL,
  created_at    timestamptz NOT NULL DEFAULT now(),
  expires_at    timestamptz,
  PRIMARY KEY (execution_id, sha256, name),
  FOREIGN KEY (execution_id, sha256) REFERENCES noetl.result_body
);

-- Serves removeExpired.
CREATE INDEX result_expired ON noetl.result (expires_at) WHERE expires_at IS NOT NULL;
-- Serves removeStepScoped.
CREATE INDEX result_of_step ON noetl.result (execution_id) WHERE scope = 'step';

-- Frames of bodies in PostgreSQL: 1 MiB of the value each, the last one less; zstd.
CREATE TABLE noetl.result_chunk (
  body_id       bigint NOT NULL,
  position      integer NOT NULL,
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
  is_taken      boolean NOT NULL DEFAULT false
);

-- Serves takeLoose.
CREATE INDEX result_loose_due ON noetl.result_loose (due_at);
