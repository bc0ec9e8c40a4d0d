#!/bin/sh
# kcat's balanced consumers: `kcat_groups.sh HOST:PORT TOPIC DIRECTORY`.
# Prints `begin STEP`, then `ok STEP` or `FAILED STEP REASON`; whoever runs it kills and restarts
# the broker at `kill-now`.
set -u
broker=$1 topic=$2 dir=$3

expect() { # expect FILE WORD...: after 25 s at most, FILE has these lines in any order
    file=$1
    shift
    printf '%s\n' "$@" | sort >"$dir/wanted"
    for _ in $(seq 250); do
        sort "$file" >"$dir/got"
        cmp -s "$dir/wanted" "$dir/got" && return 0
        sleep 0.1
    done
    echo "$(wc -l <"$dir/got") lines, $(wc -l <"$dir/wanted") wanted"
    return 1
}

member() { # member NAME: a member of the group that writes what it reads to NAME, until it is killed
    : >"$dir/$1"
    kcat -q -u -E -b "$broker" -G readers-kcat "$topic" -X auto.offset.reset=earliest \
        -X auto.commit.interval.ms=200 -X session.timeout.ms=6000 -X heartbeat.interval.ms=500 \
        -X topic.metadata.refresh.interval.ms=1000 >"$dir/$1" 2>>"$dir/errors" &
    last=$!
}

send() { # send FROM TO: one record for each number
    seq "$1" "$2" | kcat -q -P -E -b "$broker" -t "$topic" -X message.timeout.ms=25000 2>>"$dir/errors"
}

stop() { # stop PROCESS: as ctrl-c does
    kill -INT "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}

step() { # step NAME FUNCTION
    echo "begin $1"
    if reason=$($2 2>&1); then echo "ok $1"; else echo "FAILED $1 $(echo "$reason" | tail -n 1)"; fi
}

reads_all() { expect "$dir/one" $(seq 1 60); }

joins() {
    for _ in $(seq 25); do # until the second member has its part
        from=$((from + 12))
        send $((from - 11)) $from
        sleep 1
        [ -s "$dir/two" ] && break
    done
    [ -s "$dir/two" ] || { echo "the second member got nothing"; return 1; }
    for _ in $(seq 250); do # the first member begins anew in the other generation
        cat "$dir/one" "$dir/two" | sort -u >"$dir/both"
        [ "$(wc -l <"$dir/both")" -ge "$from" ] && break
        sleep 0.1
    done
    expect "$dir/both" $(seq 1 $from)
}

from=60
send 1 60
trap 'kill -KILL $one $two 2>/dev/null' EXIT
member one; one=$last; two=
step group-one-reads-all reads_all
member two; two=$last
echo "begin group-one-joins"
if joins >"$dir/reason"; then echo "ok group-one-joins"; else echo "FAILED group-one-joins $(tail -n 1 "$dir/reason")"; fi

resumes() {
    stop "$two"
    sleep 1
    send $((from + 1)) $((from + 60))
    from=$((from + 60))
    for _ in $(seq 250); do
        got=$(cat "$dir/one" "$dir/two" | sort -u | wc -l)
        [ "$got" = "$from" ] && return 0
        sleep 0.1
    done
    echo "$got of $from records"
    return 1
}
echo "begin group-one-leaves"
if resumes >"$dir/reason"; then echo "ok group-one-leaves"; else echo "FAILED group-one-leaves $(tail -n 1 "$dir/reason")"; fi

echo "begin group-broker-dies"
sleep 1
echo kill-now
sleep 3
send $((from + 1)) $((from + 60))
from=$((from + 60))
got=0
for _ in $(seq 250); do
    got=$(cat "$dir/one" "$dir/two" | sort -u | wc -l)
    [ "$got" = "$from" ] && break
    sleep 0.1
done
if [ "$got" = "$from" ]; then echo "ok group-broker-dies"; else echo "FAILED group-broker-dies $got of $from records"; fi

sleep 1
stop "$one"
send $((from + 1)) $((from + 60))
resumed() { expect "$dir/three" $(seq $((from + 1)) $((from + 60))); }
member three; two=$last
step group-consumer-resumes resumed
stop "$two"
