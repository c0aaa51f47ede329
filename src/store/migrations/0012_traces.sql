-- Where an execution belongs in the traces of whoever asked for it. Takes no time, whatever the table holds; servers
-- of the version before go on without it. To undo: drop the column.
ALTER TABLE noetl.execution ADD COLUMN trace text;
