# Runs one server and stops it when its owner ends, however the owner ends.
# $1: the signal that stops the server. $2: a directory to remove afterwards, or nothing. The rest: the server's command.
# A directory that contains a file `keep` is not removed.
# Standard input is a socket or pipe that only the owner holds open. Its end means that the owner has finished or died.
# A socket gets the process id of the server.
stop_with=$1 remove=$2
shift 2
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
(echo "$server" >&3) 2>/dev/null # a pipe is not writable, and a write to a dead owner ends the subshell
# CONT resumes a server that SIGSTOP has stopped: it handles the other signal only then.
{ read -r _ <&3; kill -s "$stop_with" "$server"; kill -s CONT "$server"; } 2>/dev/null &
watcher=$!
exec 3<&-
wait "$server" 2>/dev/null # without this redirection some shells print the signal here
status=$?
kill "$watcher" 2>/dev/null
# A killed server may leave child processes, as NGINX does. They are in this process group.
trap '' TERM
kill -s TERM 0
[ -z "$remove" ] || [ -e "$remove/keep" ] || { cd / && rm -rf -- "$remove"; }
exit "$status"
