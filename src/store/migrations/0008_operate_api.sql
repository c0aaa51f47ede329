-- Versions of documents that were taken out of use: kept for the executions that ran them, hidden from
-- lists and from what starts by path. Adds a nullable column: locks catalog for a moment. To undo: drop it.

ALTER TABLE noetl.catalog ADD COLUMN archived_at timestamptz;
