# Functions that the pages here use. In bash or zsh, from the repository's root:
#
#   . deploy/docs/ask.sh                    # the cluster that kubectl talks to
#   PLATFORM=compose . deploy/docs/ask.sh   # compose.yaml on this machine
#
# Needs kubectl or docker, curl and jq here.
PLATFORM=${PLATFORM:-cluster}

# in_pod WHAT COMMAND…: WHAT is one of server, health, postgres, nats, victoriametrics, victorialogs.
in_pod() {
  _what=$1
  shift
  if [ "$PLATFORM" = compose ]; then
    case $_what in server | health) _what=noetl-$_what ;; esac
    docker compose -f deploy/compose.yaml exec -T "$_what" "$@"
    return
  fi
  case $_what in
    server) kubectl -n noetl-platform exec -i deploy/noetl-server -c server -- "$@" ;;
    health) kubectl -n noetl-platform exec -i deploy/noetl-health -- "$@" ;;
    postgres) kubectl -n postgres exec -i postgres-0 -c postgres -- "$@" ;;
    nats) kubectl -n nats exec -i nats-0 -c nats -- "$@" ;;
    *) kubectl -n noetl-platform exec -i "statefulset/$_what" -- "$@" ;;
  esac
}

# The client, where it finds its tokens: in a server's pod. Its `health` runs where all addresses are set.
noetl() {
  if [ "$1" = health ]; then in_pod health noetl "$@"; else in_pod server noetl "$@"; fi
}

# vm QUERY: a query to VictoriaMetrics, one series a line.
vm() {
  in_pod victoriametrics wget -qO- "http://127.0.0.1:8428/api/v1/query?query=$(jq -rn --arg q "$1" '$q | @uri')" |
    jq -r '.data.result[] | "\(.value[1])\t\(.metric | to_entries | map("\(.key)=\(.value)") | join(" "))"'
}

# vl QUERY [LINES]: a LogsQL query to VictoriaLogs, one JSON object a line.
vl() {
  in_pod victorialogs wget -qO- \
    "http://127.0.0.1:9428/select/logsql/query?limit=${2:-50}&query=$(jq -rn --arg q "$1" '$q | @uri')"
}

# pg SQL: one statement on the platform's database, as its superuser.
pg() {
  in_pod postgres psql -X -U postgres -d noetl -c "$1"
}

# js: what JetStream says of streams and consumers. First the streams, then each consumer.
js() {
  in_pod nats wget -qO- "http://127.0.0.1:8222/jsz?streams=1&consumers=1&config=1" | jq -r '
    .account_details[]?.stream_detail[]? |
    "\(.name): \(.state.messages) messages, \(.state.bytes) bytes, max_age \(.config.max_age / 1e9) s",
    (.consumer_detail[]? | select(.config.durable_name) |
      "  \(.name): pending \(.num_pending), unacknowledged \(.num_ack_pending), redelivered \(.num_redelivered), pulls \(.num_waiting)")'
}
