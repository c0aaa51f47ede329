-- breaking
-- Who may run, and when: concurrency keys of executions, permits of rate limits, commands by priority.
-- An older binary would start executions that wait for a place.
--
-- Locks: execution and command while their indexes are built, about a second for a million rows.
-- Undo: drop the new indexes, columns and table, make command_queued again as in 0001.

-- A place is held by the unfinished row itself: nothing has to be given back when a server dies.
-- `place` of a row that has ended says only that nobody has passed its place on yet.
ALTER TABLE noetl.execution
  ADD COLUMN concurrency_key text,
  ADD COLUMN concurrency_limit integer CHECK (concurrency_limit > 0),
  ADD COLUMN on_limit text CHECK (on_limit IN ('queue', 'reject', 'cancel_oldest')),
  ADD COLUMN queue_priority smallint,
  ADD COLUMN place text CHECK (place IN ('queued', 'held', 'reserved')),
  ADD COLUMN place_since timestamptz,
  ADD COLUMN cancels bigint,
  ADD CHECK (place IS NULL OR (
    concurrency_key IS NOT NULL AND concurrency_limit IS NOT NULL AND on_limit IS NOT NULL
    AND queue_priority IS NOT NULL AND place_since IS NOT NULL
  ));

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

-- Notification that brought another command than the one that it announced.
ALTER TABLE noetl.command ADD COLUMN bell_id bigint;

-- Serves claimCommands (more urgent ones), poolDepths and listForgotten.
DROP INDEX noetl.command_queued;
CREATE INDEX command_queued ON noetl.command (pool, priority DESC, available_at)
  WHERE status = 'queued';
-- Serves claimCommands (is anything more urgent than usual?).
CREATE INDEX command_urgent ON noetl.command (available_at)
  WHERE status = 'queued' AND priority > 5;

-- Rate limits, by key; a key without a row has all its permits. Milliseconds since 1970.
CREATE TABLE noetl.rate (
  rate_key      text PRIMARY KEY,
  spent_until   double precision NOT NULL,
  line_until    double precision NOT NULL
) WITH (fillfactor = 50);
