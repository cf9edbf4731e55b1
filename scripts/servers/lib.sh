# What the server scripts of this folder share. Sourced, never run.
#
#   NAME start DIR    starts on loopback, waits until it takes data, prints KEY=VALUE lines;
#                     started already: prints the same lines
#   NAME stop DIR     ends the processes that start began and removes what it wrote; again: nothing
#   NAME status DIR   0 and the KEY=VALUE lines when it runs, else 3
#   NAME env DIR      the KEY=VALUE lines once more
# Everything else goes to stderr. With OWNER_PID set, start also leaves a watch that stops the
# server once that process is gone, so that a killed test run leaves nothing behind.
#
# A script sets NAME, PORTS (the names of its port variables) and PROCESSES (in the order to end
# them), defines launch(), and ends with: serve "$@"

set -u -o pipefail
export PYTHONDONTWRITEBYTECODE=1
SCRIPT=$(readlink -f "$0")
CHECKOUT=$(dirname "$(dirname "$(dirname "$SCRIPT")")")

say() { echo "$NAME: $*" >&2; }
die() { echo "$NAME: error: $*" >&2; exit 1; }
need() { # need PROGRAM...
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null 2>&1 || die "$program is missing: run scripts/setup servers"
    done
}

# --- the state folder -----------------------------------------------------------------------------

open_state() { # open_state DIR: sets STATE, RUN, LOG; refuses a folder that is not ours
    mkdir -p "$1" || die "cannot make the folder $1"
    STATE=$(cd "$1" && pwd -P) RUN=$STATE/run LOG=$STATE/log MARK=$STATE/.server-$NAME
    [ -e "$MARK" ] || [ -z "$(ls -A "$STATE")" ] || die "$STATE is not empty and was not made by $NAME"
}

# --- processes ------------------------------------------------------------------------------------

started() { # when a process started, in clock ticks since boot; nothing for a zombie or none
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
    stat=${stat##*) } # the command's name may hold anything, and ends at the last ")"
    set -- $stat
    [ "$1" = Z ] || echo "${20}"
}
spawn() { # spawn LABEL COMMAND...: in the background, in a session of its own
    local label=$1 pid; shift
    setsid "$@" </dev/null >>"$LOG/$label.log" 2>&1 &
    pid=$!
    echo "$pid $(started "$pid")" >"$RUN/$label.pid"
}
pid_of() { # the pid, if it is still the process that spawn began: a pid is soon another's
    local pid start
    [ -s "$RUN/$1.pid" ] || return 1
    read -r pid start <"$RUN/$1.pid"
    [ -n "${start:-}" ] && [ "$(started "$pid")" = "$start" ] && echo "$pid"
}
alive() { pid_of "$1" >/dev/null; }
all_alive() { local label; for label in $PROCESSES; do alive "$label" || return 1; done; }
end() { # end LABEL: KILL its whole session; the data go too, so nothing is worth flushing
    local pid
    if pid=$(pid_of "$1") && [ "$pid" != $$ ]; then
        kill -KILL -- "-$pid" 2>/dev/null || kill -KILL "$pid" 2>/dev/null
        while alive "$1"; do sleep 0.02; done
    fi
    rm -f "$RUN/$1.pid"
}
end_all() { local label; for label in watch $PROCESSES; do end "$label"; done; }
watch_owner() { # until OWNER_PID is gone
    local born
    born=$(started "$OWNER_PID")
    [ -n "$born" ] || die "OWNER_PID=$OWNER_PID is no process"
    while [ "$(started "$OWNER_PID")" = "$born" ]; do sleep 1; done
    exec "$SCRIPT" stop "$STATE"
}

# --- ports and health -----------------------------------------------------------------------------

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
want_free() { # want_free PORT...: a port given up by a dying process may need a moment
    local port tries
    for port in "$@"; do
        tries=60
        while port_open "$port"; do
            [ $((tries -= 1)) -gt 0 ] || die "port $port is taken (choose others with $PORTS)"
            sleep 0.05
        done
    done
}
wait_for() { # wait_for SECONDS LABEL COMMAND...: until the command succeeds, while LABEL lives
    local until=$((SECONDS + $1)) label=$2 problem; shift 2
    until "$@" >/dev/null 2>&1; do
        problem=
        alive "$label" || problem="ended while starting"
        [ $SECONDS -le $until ] || problem="was not healthy in time"
        [ -z "$problem" ] || { tail -n 15 "$LOG/$label.log" >&2; die "$label $problem, see $LOG"; }
        sleep 0.05
    done
}
http_is() { # http_is STATUS URL [curl options]
    local status
    status=$(curl -s -o /dev/null --noproxy '*' -m 5 -w '%{http_code}' "${@:3}" "$2")
    [ "$status" = "$1" ]
}

# --- the verbs ------------------------------------------------------------------------------------

start() {
    open_state "$1"
    if all_alive && [ -s "$STATE/env" ]; then
        cat "$STATE/env"
        return
    fi
    # What an interrupted start left is not worth mending: nobody was told that it runs.
    stop "$STATE"
    mkdir -p "$RUN" "$LOG"
    : >"$MARK"
    # An empty variable is no message to curl, and no server here should meet a proxy.
    unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY
    # launch may end this script; what it had started must not outlive that. The logs stay.
    trap end_all EXIT
    launch >"$STATE/env.new"
    [ -z "${OWNER_PID:-}" ] || spawn watch "$SCRIPT" watch "$STATE"
    mv "$STATE/env.new" "$STATE/env"
    trap - EXIT
    cat "$STATE/env"
}
stop() {
    [ -d "$1" ] || return 0
    open_state "$1"
    [ -e "$MARK" ] || return 0
    end_all
    find "$STATE" -mindepth 1 -delete
}
status() { [ -d "$1" ] || exit 3; open_state "$1"; all_alive && cat "$STATE/env" 2>/dev/null || exit 3; }
serve() {
    [ $# = 2 ] && [ -n "$2" ] || die "usage: $NAME start|stop|status|env DIR"
    case $1 in
    start | status) "$1" "$2" ;;
    stop) stop "$2"; rmdir "$2" 2>/dev/null || true ;;
    env) [ -s "$2/env" ] || exit 3; cat "$2/env" ;;
    watch) open_state "$2"; watch_owner ;;
    *) die "usage: $NAME start|stop|status|env DIR" ;;
    esac
}
