#!/bin/sh
# kcat's balanced consumers: `kcat_groups.sh HOST:PORT TOPIC DIRECTORY`.
# Prints `begin STEP`, then `ok STEP` or `FAILED STEP REASON`; whoever runs it kills and restarts
# the broker at `kill-now`, and then makes the file that the variable BROKER_IS_BACK names; without
# the variable nobody kills it.
set -u
broker=$1 topic=$2 dir=$3 back=${BROKER_IS_BACK:-}

wait_for() { # wait_for COMMAND...: after 60 s at most, it succeeds
    for _ in $(seq 600); do
        "$@" && return 0
        sleep 0.1
    done
    return 1
}

has() { # has FILE: it has the lines of the file `wanted`, in any order
    sort "$1" >"$dir/got"
    cmp -s "$dir/wanted" "$dir/got"
}

both_have() { # the first two members have them together; some twice, where a generation began anew
    sort -u "$dir/one" "$dir/two" >"$dir/both"
    has "$dir/both"
}

expect() { # expect FROM TO COMMAND...: it succeeds in time, these numbers being `wanted`
    seq "$1" "$2" | sort >"$dir/wanted"
    shift 2
    wait_for "$@" && return 0
    reason="$(wc -l <"$dir/got") lines, $(wc -l <"$dir/wanted") wanted"
    return 1
}

# A member that waits longer than its session before it finds a broker that is back is given up.
options="-q -E -b $broker -X reconnect.backoff.max.ms=500"

member() { # member NAME: a member of the group that writes what it reads to NAME, until it is killed
    : >"$dir/$1"
    kcat $options -u -G readers-kcat "$topic" -X auto.offset.reset=earliest \
        -X auto.commit.interval.ms=200 -X session.timeout.ms=6000 -X heartbeat.interval.ms=500 \
        -X topic.metadata.refresh.interval.ms=1000 >"$dir/$1" 2>>"$dir/errors" &
    last=$!
}

send() { # send COUNT: as many records more, one for each number
    from=$((sent + 1)) sent=$((sent + $1))
    seq "$from" "$sent" | kcat $options -P -t "$topic" -X message.timeout.ms=25000 2>>"$dir/errors"
}

stop() { # stop PROCESS: as ctrl-c does
    kill -INT "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}

step() { # step NAME FUNCTION: what went wrong is the function's `reason`
    echo "begin $1"
    reason=
    if $2; then echo "ok $1"; else echo "FAILED $1 $reason"; fi
}

reads_all() {
    member one; one=$last
    expect 1 "$sent" has "$dir/one"
}

joins() {
    member two; two=$last
    for _ in $(seq 60); do # until the second member has its part
        send 12
        sleep 1
        [ -s "$dir/two" ] && break
    done
    [ -s "$dir/two" ] || { reason="the second member got nothing"; return 1; }
    # The first member begins anew in the other generation.
    expect 1 "$sent" both_have
}

leaves() {
    stop "$two"
    sleep 1
    send 60
    expect 1 "$sent" both_have
}

broker_dies() {
    sleep 1
    echo kill-now
    wait_for [ -e "${back:-/}" ] || { reason="the broker was not killed and ready again"; return 1; }
    send 60
    expect 1 "$sent" both_have
}

resumes() {
    sleep 1
    stop "$one"
    send 60
    member three; two=$last
    expect "$from" "$sent" has "$dir/three"
}

sent=0
one= two=
trap 'kill -KILL $one $two 2>/dev/null' EXIT
send 60
step group-one-reads-all reads_all
step group-one-joins joins
step group-one-leaves leaves
step group-broker-dies broker_dies
step group-consumer-resumes resumes
stop "$two"
