# SPDX-License-Identifier: MIT OR Apache-2.0
# shellcheck shell=bash
#
# What the rig's scripts say: progress, failures, and what a failure most likely comes
# from. lib.sh sources it.

: "${ALPC_T0:=$(date +%s)}"
export ALPC_T0

# What was said last, in short: the step that fails, if one does.
STEP=

# Every line of progress goes to stderr: stdout carries results.
say() {
	printf '[%4ds] %s\n' "$(($(date +%s) - ALPC_T0))" "$*" >&2
	STEP=${*%% (*}
	STEP=${STEP%% from *}
	STEP=${STEP%%: *}
}

# die LINE [ADVICE]... - the one line that names what is wrong, and what to type.
die() {
	printf 'error: %s\n' "$1" >&2
	shift
	[ $# = 0 ] || printf '       %s\n' "$@" >&2
	exit 1
}

# cause_of LOG STATUS - why a command failed, if its exit status or its log tells.
cause_of() {
	local name pattern line
	case $2 in
	129 | 130 | 143) echo interrupted && return ;;
	137) echo "killed: is there too little memory?" && return ;;
	esac
	while IFS='=' read -r name pattern; do
		line=$(grep -m 1 -oiE "$pattern" "$1" | head -n 1) || continue
		echo "$name: $line"
		return
	done <<-'END'
		no disk=(no space left on device|disk quota exceeded|not enough free space)
		no network=(temporary failure resolving|could not resolve|(could not|unable to) connect|connection (refused|timed out)|network is unreachable)[^,:;()]*
		no network=(failed to fetch|unable to fetch|spurious network error).*
		no right=[^:]*: (permission denied|operation not permitted)
	END
	return 1
}

# draw PERCENT - how far it has come, in one line of the terminal however narrow that is.
draw() {
	local columns=${COLUMNS:-} width
	[ -n "$columns" ] || columns=$(stty size <&2 2>/dev/null | cut -d' ' -f2) || true
	[ "${columns:-0}" -gt 0 ] 2>/dev/null || columns=80
	width=$((columns - 16))
	[ "$width" -le 40 ] || width=40
	if [ "$width" -ge 5 ]; then
		printf '\r        [%-*s] %2d%%\r' "$width" "$(printf '%*s' $(($1 * width / 100)) '' | tr ' ' '#')" "$1" >&2
	else
		printf '\r%2d%%\r' "$1" >&2
	fi
}

# with_progress LOG EXPECTED_LINES CMD... - runs CMD with its output in LOG. A terminal
# shows how far LOG has come, anything else a line each half minute. A failure names the
# step and its likely cause, or shows LOG's end.
with_progress() {
	local log=$1 want=$2 pid rc=0 status=0 percent ticks=0 why line step=$STEP
	shift 2
	: >"$log"
	# A shell leaves its background commands alone when it is interrupted.
	EXEC=exec "$@" >"$log" 2>&1 </dev/null &
	pid=$!
	# shellcheck disable=SC2064 # this process
	trap "kill -KILL $pid 2>/dev/null || true; wait $pid 2>/dev/null || true; rc=130" INT TERM HUP
	while kill -0 "$pid" 2>/dev/null; do
		sleep 1 || true
		ticks=$((ticks + 1))
		percent=$(($(wc -l <"$log") * 100 / want))
		[ "$percent" -le 99 ] || percent=99
		if [ -t 2 ]; then
			draw "$percent"
		elif [ $((ticks % ${ALPC_PROGRESS_EVERY:-30})) = 0 ]; then
			printf '[%4ds]   %d %%\n' "$(($(date +%s) - ALPC_T0))" "$percent" >&2
		fi
	done
	[ ! -t 2 ] || printf '\r\033[K' >&2
	wait "$pid" || status=$?
	[ "$rc" != 0 ] || rc=$status
	trap - INT TERM HUP
	[ "$rc" != 0 ] || return 0
	why=$(cause_of "$log" "$rc") || {
		tail -n 40 "$log" >&2
		why="its last words are above"
	}
	line="$step failed: $why"
	[ "$rc" != 130 ] || line="interrupted while $step"
	printf 'error: %s\n' "${line:0:93}" >&2
	[ "$rc" = 130 ] || printf '       all of it is in %s\n' "$log" >&2
	exit "$rc"
}
