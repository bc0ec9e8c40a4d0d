#!/bin/sh
# kcat, unmodified: `kcat.sh HOST:PORT TOPIC DIRECTORY`, DIRECTORY being an empty one for the files compared.
# kcat cannot create or delete topics nor delete records: its topics come from auto-creation, with one partition.
# Prints `begin STEP`, then `ok STEP [NOTE]` or `FAILED STEP REASON`; `cargo xtask interop` reads them.

bootstrap=$1 topic=$2 directory=$3
cd "$directory" || exit 2
base=$(($(date +%s) - 3600))

step() {
    name=$1
    shift
    echo "begin $name"
    if reason=$("$@" 2>errors); then
        echo "ok $name $reason"
    else
        cat errors >&2
        echo "FAILED $name $(echo "$reason" "$(tail -n 3 errors)" | tr -s '\n' ' ')"
    fi
}

# Lines of a key, a tab and a value; some keys and some values empty.
keyed_lines() {
    awk -v codec="$1" 'BEGIN {
        for (i = 0; i < 1000; i++) {
            value = ""
            for (j = 0; j < 1 + i % 7; j++) value = value codec " record " i " \303\251\342\202\254 "
            print (i % 10 == 9 ? "" : "key-" i) "\t" (i % 50 == 8 ? "" : value)
        }
    }'
}

kcat_() {
    kcat -q -b "$bootstrap" -X broker.address.family=v4 "$@"
}

same() {
    cmp "$1" "$2" || { echo "$1 and $2 differ: $(wc -l <"$1") lines produced, $(wc -l <"$2") read"; return 1; }
}

produce() {
    keyed_lines "$1" >"produced-$1"
    kcat_ -P -t "$topic-$1" -p 0 -z "$1" -K '\t' -H "codec=$1" -H two=2 -X enable.idempotence=true -l "produced-$1"
}

read_back() {
    kcat_ -C -t "$topic-$1" -p 0 -o beginning -e -f '%k\t%s\n' -X check.crcs=true >"read-$1" || return 1
    same "produced-$1" "read-$1"
}

read_envelope() {
    kcat_ -C -t "$topic-gzip" -p 0 -o beginning -e -f '%p %o %h\n' >envelopes || return 1
    awk 'BEGIN { for (i = 0; i < 1000; i++) print "0 " i " codec=gzip,two=2" }' >wanted-envelopes
    same wanted-envelopes envelopes
}

read_from_the_middle() {
    kcat_ -C -t "$topic-zstd" -p 0 -o 500 -c 10 -f '%o\n' >middle || return 1
    seq 500 509 >wanted-middle
    same wanted-middle middle
}

read_the_tail() {
    kcat_ -C -t "$topic-lz4" -p 0 -o -5 -e -f '%o\n' >tail || return 1
    seq 995 999 >wanted-tail
    same wanted-tail tail
}

list_topics() {
    kcat_ -L -J >metadata || return 1
    for codec in none gzip snappy lz4 zstd; do
        grep -q "\"topic\":\"$topic-$codec\"" metadata || { echo "no $topic-$codec in the metadata"; return 1; }
    done
}

query() {
    kcat_ -Q -t "$1:0:$2" | grep -o 'offset -\{0,1\}[0-9]*' | grep -o '[-0-9]*$'
}

offsets_by_time() {
    # The records carry the time of their production: one before it finds the first, one after it none.
    earliest=$(query "$topic-none" $((base * 1000)))
    [ "$earliest" = 0 ] || { echo "an hour ago: offset $earliest, expected 0"; return 1; }
    late=$(query "$topic-none" $(((base + 7200) * 1000)))
    [ "$late" = -1 ] || [ "$late" = 1000 ] || { echo "in an hour: offset $late, expected the end"; return 1; }
    latest=$(query "$topic-none" -1)
    [ "$latest" = 1000 ] || { echo "latest: offset $latest, expected 1000"; return 1; }
}

for codec in none gzip snappy lz4 zstd; do
    step "produce-$codec" produce "$codec"
    step "read-$codec" read_back "$codec"
done
step list-topics list_topics
step read-envelope read_envelope
step read-from-the-middle read_from_the_middle
step read-the-tail read_the_tail
step offsets-by-time offsets_by_time
echo "skipped create-topic kcat has no such command; its topics are auto-created"
echo "skipped delete-records kcat has no such command"
echo "skipped delete-topic kcat has no such command"
