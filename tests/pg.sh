#!/usr/bin/env bash
# A throw-away PostgreSQL server on 127.0.0.1, gone when its user is done.
#
#   tests/pg.sh COMMAND…    runs COMMAND with TEST_DATABASE_URL set, and ends the server after it
#   source tests/pg.sh      gives the functions pg_start and pg_stop
#
# PORTREEVE_TEST_FSYNC=on keeps durability (tests that pull the plug); the default is off, for speed.

pg_dir='' pg_pid=''

# The folder of PostgreSQL's server programs (they are not on Debian's PATH), or nothing.
pg_bin() {
    local newest
    newest=$(find /usr/lib/postgresql/*/bin -name initdb 2>/dev/null | sort -V | tail -n 1)
    [[ -n $newest ]] || newest=$(command -v initdb || true)
    [[ -z $newest ]] || dirname "$(readlink -f "$newest")"
}

# PostgreSQL refuses to run as root; then it runs as the user that Debian's package makes.
pg_as_user() {
    if [[ $(id -u) == 0 ]]; then
        (cd / && exec setpriv --reuid=postgres --regid=postgres --clear-groups "$@")
    else
        (cd / && exec "$@")
    fi
}

pg_free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Starts the server and exports TEST_DATABASE_URL: a user that may create databases.
pg_start() {
    local bin password port fsync=${PORTREEVE_TEST_FSYNC:-off}
    bin=$(pg_bin)
    [[ -n $bin ]] || { echo 'PostgreSQL is not installed (Debian: apt-get install postgresql)' >&2; return 1; }
    pg_dir=$(mktemp -d "${TMPDIR:-/tmp}/portreeve-pg.XXXXXX")
    password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    printf '%s\n' "$password" >"$pg_dir/password"
    [[ $(id -u) != 0 ]] || chown -R postgres: "$pg_dir"
    if ! pg_as_user "$bin/initdb" --pgdata="$pg_dir/data" --username=portreeve --auth=scram-sha-256 \
        --pwfile="$pg_dir/password" --encoding=UTF8 --locale=C.UTF-8 --no-sync >"$pg_dir/initdb.log" 2>&1; then
        cat "$pg_dir/initdb.log" >&2
        return 1
    fi
    for _ in 1 2 3; do # Another program may take the port first.
        port=$(pg_free_port)
        # No shell in between: the number is the server's own.
        if [[ $(id -u) == 0 ]]; then
            setpriv --reuid=postgres --regid=postgres --clear-groups "$bin/postgres" "${pg_arguments[@]}" \
                -D "$pg_dir/data" -p "$port" -c "fsync=$fsync" -c "full_page_writes=$fsync" >>"$pg_dir/log" 2>&1 </dev/null &
        else
            "$bin/postgres" "${pg_arguments[@]}" \
                -D "$pg_dir/data" -p "$port" -c "fsync=$fsync" -c "full_page_writes=$fsync" >>"$pg_dir/log" 2>&1 </dev/null &
        fi
        pg_pid=$!
        for _ in $(seq 150); do
            if "$bin/pg_isready" -q -h 127.0.0.1 -p "$port"; then
                export TEST_DATABASE_URL="postgres://portreeve:$password@127.0.0.1:$port/postgres"
                return 0
            fi
            kill -0 "$pg_pid" 2>/dev/null || break
            sleep 0.2
        done
        pg_end_server
    done
    tail -n 20 "$pg_dir/log" >&2
    return 1
}

pg_arguments=(
    -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=300
    -c shared_buffers=128MB -c logging_collector=off -c log_min_messages=warning
)

# SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one.
pg_end_server() {
    [[ -n $pg_pid ]] || return 0
    kill -INT "$pg_pid" 2>/dev/null || true
    for _ in $(seq 100); do
        kill -0 "$pg_pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -QUIT "$pg_pid" 2>/dev/null || true
    wait "$pg_pid" 2>/dev/null || true
    pg_pid=''
}

pg_stop() {
    pg_end_server
    [[ -z $pg_dir ]] || rm -rf "$pg_dir"
    pg_dir=''
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    set -euo pipefail
    [[ $# -gt 0 ]] || { echo 'usage: tests/pg.sh COMMAND…' >&2; exit 2; }
    trap pg_stop EXIT
    trap 'exit 130' INT TERM
    pg_start
    "$@"
fi
