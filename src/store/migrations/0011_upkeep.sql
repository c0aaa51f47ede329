-- What upkeep, lists and claims would walk much for. Builds indexes, one of them on execution: nothing can be
-- written to execution, result, command and schedule_firing meanwhile, about a second for a million
-- executions. To undo: drop the indexes, make command_urgent again as 0009 has it.

-- Serves listHolders.
CREATE INDEX result_removable ON noetl.result (execution_id) WHERE scope <> 'permanent';

-- Serves claimCommands (is anything in the pool more urgent than usual?).
DROP INDEX noetl.command_urgent;
CREATE INDEX command_urgent ON noetl.command (pool, available_at)
  WHERE status = 'queued' AND priority > 5 AND gpu_demand IS NULL;

-- Serves listExecutions by playbook and by path.
CREATE INDEX execution_catalog ON noetl.execution (catalog_id, execution_id);

-- Serves listFirings by status: those that are rare.
CREATE INDEX schedule_firing_missed ON noetl.schedule_firing (schedule_id, status, due_at)
  WHERE status IN ('skipped', 'failed');
