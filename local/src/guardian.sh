# Runs one server for as long as its owner lives, whatever ends the owner.
# $1: the signal that stops the server. $2: a directory to remove afterwards, or nothing. The rest: its command.
# A directory with a file `keep` in it stays.
# Standard input is a pipe that only the owner holds open, so its end means that the owner is done or dead.
stop_with=$1 remove=$2
shift 2
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
# One that hangs because it was sent SIGSTOP has to go on to take the other signal.
{ read -r _ <&3; kill -s "$stop_with" "$server"; kill -s CONT "$server"; } 2>/dev/null &
watcher=$!
exec 3<&-
wait "$server" 2>/dev/null # else some shells report the signal here
status=$?
kill "$watcher" 2>/dev/null
# A server that was killed may leave processes of its own, as NGINX does, which would go on. They are of this group.
trap '' TERM
kill -s TERM 0
[ -z "$remove" ] || [ -e "$remove/keep" ] || { cd / && rm -rf -- "$remove"; }
exit "$status"
