#!/bin/sh
# Stand-in of nvidia-smi for tests, see nvidia-smi.ts: prints what lies in the folder of this script.
# No real GPU is asked. Its output has the shapes of drivers 470 to 580.
cd "$(dirname "$0")" || exit 1
echo "$*" >>calls
if [ -e hang ]; then
  [ "$(cat hang)" = stubborn ] && trap '' TERM INT
  exec sleep 3600
fi
if [ -e error ]; then
  sed 1d error
  exit "$(head -n 1 error)"
fi
for argument in "$@"; do
  case "$argument" in
  --query-gpu=*) table=gpus fields=${argument#*=} ;;
  --query-compute-apps=*) table=apps fields=${argument#*=} ;;
  --query-remapped-rows=*) table=gpus fields=${argument#*=} ;;
  -L) exec cat list ;;
  -x) table=xml ;;
  esac
  [ "$previous" = -i ] && only=$argument
  previous=$argument
done
# Processes with a number that no real one can have are always there, others as long as they live.
living() {
  while IFS='	' read -r uuid pid name memory gi ci; do
    if [ "$pid" -ge 5000000 ] || [ -d "/proc/$pid" ]; then
      printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$uuid" "$pid" "$name" "$memory" "$gi" "$ci"
    fi
  done <processes
}
case "$table" in
xml)
  { echo @; living; } | awk -F '\t' '
    NR == FNR { if (NR > 1) seen[++n] = $0; next }
    /^@processes / {
      split($0, words, " ")
      for (i = 1; i <= n; i++) {
        split(seen[i], p, "\t")
        if (p[1] != words[2]) continue
        print "\t\t\t<process_info>"
        print "\t\t\t\t<gpu_instance_id>" p[5] "</gpu_instance_id>"
        print "\t\t\t\t<compute_instance_id>" p[6] "</compute_instance_id>"
        print "\t\t\t\t<pid>" p[2] "</pid>"
        print "\t\t\t\t<type>C</type>"
        print "\t\t\t\t<process_name>" p[3] "</process_name>"
        print "\t\t\t\t<used_memory>" p[4] " MiB</used_memory>"
        print "\t\t\t</process_info>"
      }
      next
    }
    { print }' - xml
  ;;
gpus | apps)
  { [ "$table" = apps ] && printf 'gpu_uuid\tpid\tprocess_name\tused_memory\n' && living || cat gpus; } |
    awk -F '\t' -v fields="$fields" -v only="$only" '
    NR == 1 {
      for (i = 1; i <= NF; i++) column[$i] = i
      count = split(fields, wanted, ",")
      for (i = 1; i <= count; i++) if (!(wanted[i] in column)) {
        print "Field \"" wanted[i] "\" is not a valid field to query.\n"
        failed = 2
        exit
      }
      next
    }
    only != "" && $column["uuid"] != only && $column["index"] != only { next }
    $1 == "@error" { print $2; failed = 15; next }
    {
      line = $column[wanted[1]]
      for (i = 2; i <= count; i++) line = line ", " $column[wanted[i]]
      print line
    }
    END { exit failed + 0 }'
  ;;
*) exit 2 ;;
esac
