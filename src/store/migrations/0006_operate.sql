-- Where an execution comes from: the one that it starts over (rerun) or continues (retry). Adds two
-- nullable columns: locks execution for a moment, and while the index is built. To undo: drop both.

ALTER TABLE noetl.execution
  ADD COLUMN origin_id bigint,
  ADD COLUMN origin_kind text CHECK (origin_kind IN ('retry', 'rerun')),
  ADD CHECK ((origin_id IS NULL) = (origin_kind IS NULL));

-- Serves listExecutions by origin.
CREATE INDEX execution_origin ON noetl.execution (origin_id, execution_id)
  WHERE origin_id IS NOT NULL;
