-- GPUs: what commands want of them, which ones they hold, what each worker has; and the time until which a
-- command may wait in its queue. Adds nullable columns and indexes that stay empty as long as nobody uses
-- them: locks command and worker for a moment. To undo: drop the columns.

ALTER TABLE noetl.command
  ADD COLUMN gpu_demand  json,
  ADD COLUMN gpus        json,
  ADD COLUMN waits_for   text,
  ADD COLUMN queue_until timestamptz,
  ADD COLUMN queue_error json;

-- Serves claimGpus, listGpuHolders and readLeases: GPUs that are not free.
CREATE INDEX command_gpus ON noetl.command (worker_id) WHERE gpus IS NOT NULL;
-- Serves claimGpus (who comes first), readScene and listGpuWaiters.
CREATE INDEX command_gpu_queue ON noetl.command (pool, priority DESC, available_at)
  WHERE status = 'queued' AND gpu_demand IS NOT NULL;
-- Serves sweepDue and takeOverdue: commands that have waited too long.
CREATE INDEX command_queue_until ON noetl.command (queue_until)
  WHERE status = 'queued' AND queue_until IS NOT NULL;
-- Serves claimCommands (is anything more urgent than usual?), which those that wait for GPUs do not concern.
DROP INDEX noetl.command_urgent;
CREATE INDEX command_urgent ON noetl.command (available_at)
  WHERE status = 'queued' AND priority > 5 AND gpu_demand IS NULL;

ALTER TABLE noetl.worker
  ADD COLUMN gpus     json,
  ADD COLUMN runtimes json;
