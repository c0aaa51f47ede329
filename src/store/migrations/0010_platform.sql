-- What tells platforms apart that use the same machines. Adds a table with one row, which holds up nobody.
-- To undo: drop it.

-- Made once, never changed. Labels the containers of this platform's tasks.
CREATE TABLE noetl.platform (
  is_single     boolean PRIMARY KEY DEFAULT true CHECK (is_single),
  platform_id   uuid NOT NULL DEFAULT gen_random_uuid()
);

INSERT INTO noetl.platform DEFAULT VALUES;
