#!/bin/sh
# Runs once, when the cluster is made. The platform owns its database and is no superuser; the exporter only reads
# statistics. Changing a password later: ALTER ROLE … PASSWORD, then the Secret.
set -eu
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
  -v noetl_password="$NOETL_PASSWORD" -v monitor_password="$MONITOR_PASSWORD" <<'SQL'
CREATE ROLE noetl LOGIN PASSWORD :'noetl_password' IN ROLE pg_monitor;
CREATE ROLE monitor LOGIN PASSWORD :'monitor_password' IN ROLE pg_monitor;
CREATE DATABASE noetl OWNER noetl;
REVOKE CONNECT, TEMPORARY ON DATABASE noetl FROM PUBLIC;
GRANT CONNECT ON DATABASE noetl TO monitor;
SQL
