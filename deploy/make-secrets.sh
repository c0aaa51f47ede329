#!/bin/sh
# Makes the Secrets that overlays/production needs, with random values, and leaves alone those that are there.
# KUBECTL: another program or context, for example "kubectl --context prod".
set -eu
kubectl=${KUBECTL:-kubectl}

random() { openssl rand -hex 24; }

has() { $kubectl -n "$1" get secret "$2" >/dev/null 2>&1; }

# Value of a key of a Secret that is there already.
value() { $kubectl -n "$1" get secret "$2" -o "jsonpath={.data.$3}" | base64 -d; }

# Of a Secret that is there the value, else a new one; $4: what it begins with.
kept() { if has "$1" "$2"; then value "$1" "$2" "$3"; else echo "${4:-}$(random)"; fi; }

# make NAMESPACE NAME KEY=VALUE…: from standard input, so that no value is seen in the list of processes.
make() {
  namespace=$1 name=$2
  shift 2
  if has "$namespace" "$name"; then
    echo "$namespace/$name is there"
    return
  fi
  printf '%s\n' "$@" | $kubectl -n "$namespace" create secret generic "$name" --from-env-file=/dev/stdin
  $kubectl -n "$namespace" label secret "$name" app.kubernetes.io/part-of=noetl >/dev/null
}

for namespace in postgres nats noetl-platform; do
  $kubectl get namespace "$namespace" >/dev/null 2>&1 || $kubectl create namespace "$namespace"
done

database=$(kept postgres postgres NOETL_PASSWORD)
# NATS reads it as a word of its configuration: it begins with a letter.
bus=$(kept nats nats NATS_PASSWORD n)
worker=$(kept noetl-platform noetl-worker NOETL_WORKER_TOKEN)

make postgres postgres \
  "POSTGRES_PASSWORD=$(random)" "NOETL_PASSWORD=$database" "MONITOR_PASSWORD=$(random)"
make nats nats NATS_USER=noetl "NATS_PASSWORD=$bus"
make noetl-platform noetl-server \
  "POSTGRES_PASSWORD=$database" NATS_USER=noetl "NATS_PASSWORD=$bus" \
  "NOETL_TOKEN=$(random)" "NOETL_OPERATOR_TOKEN=$(random)" "NOETL_WORKER_TOKEN=$worker" \
  "NOETL_ENCRYPTION_KEY=$(openssl rand -base64 32)"
make noetl-platform noetl-worker NATS_USER=noetl "NATS_PASSWORD=$bus" "NOETL_WORKER_TOKEN=$worker"
make noetl-platform grafana GF_SECURITY_ADMIN_USER=admin "GF_SECURITY_ADMIN_PASSWORD=$(random)"

echo "Keep a copy of NOETL_ENCRYPTION_KEY apart from the backups of the database: without it no credential can be read." >&2
