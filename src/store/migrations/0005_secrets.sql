-- Credentials that were fetched or composed (tokens, keychain entries): whose they are, how long
-- they hold and who renews them. Adds columns with constant defaults and indexes to a table that is
-- small: locks it for a moment. To undo: drop the columns and indexes.

ALTER TABLE noetl.keychain
  ALTER COLUMN sealed DROP NOT NULL,
  ADD COLUMN name text NOT NULL DEFAULT '',
  ADD COLUMN scope text NOT NULL DEFAULT 'shared' CHECK (scope IN ('local', 'global', 'shared')),
  ADD COLUMN catalog_id bigint,
  ADD COLUMN execution_id bigint,
  ADD COLUMN version integer NOT NULL DEFAULT 0,
  ADD COLUMN auto_renew boolean NOT NULL DEFAULT false,
  ADD COLUMN renew_at timestamptz,
  ADD COLUMN lease_until timestamptz,
  ADD COLUMN access_count bigint NOT NULL DEFAULT 0,
  ADD COLUMN used_at timestamptz NOT NULL DEFAULT now(),
  ADD COLUMN created_at timestamptz NOT NULL DEFAULT now();

-- Serves listKeychain.
CREATE INDEX keychain_catalog ON noetl.keychain (catalog_id, name);
-- Serves sweepDue (entries that are renewed ahead).
CREATE INDEX keychain_renewal ON noetl.keychain (renew_at) WHERE auto_renew;
-- Serves removeExpiredKeychain.
CREATE INDEX keychain_expired ON noetl.keychain (expires_at);
