# shellcheck shell=bash
# What the machines of all tiers need: who they are, what the stack keeps for them, and how they tell it how it went.
# Sourced; it does nothing by itself. The variables of the stack come from /etc/atelier/stack.env, which the template's
# user data wrote.

# What fails within $(…) fails the script too: a stack that cannot be asked is not one without hosts.
shopt -s inherit_errexit

# What the machine is told of itself: `metadata instance-id`, `metadata tags/instance/slot`.
metadata() {
    local token address=http://169.254.169.254/latest
    token=$(curl -fsS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$address/api/token")
    curl -fsS -H "X-aws-ec2-metadata-token: $token" "$address/meta-data/$1"
}

# A parameter of the stack, or nothing as long as it holds what the template put there.
parameter() {
    local value
    value=$(aws ssm get-parameter --name "$1" --query Parameter.Value --output text)
    [ "$value" = "$UNSET" ] || printf '%s\n' "$value"
}

secret() {
    aws secretsmanager get-secret-value --secret-id "$1" --query SecretString --output text
}

# What is there stays as it is: a machine is brought to another release without one of Postgres or NGINX on the side.
install_packages() {
    apt-get install --yes --no-install-recommends --no-upgrade "$@"
}

# Tells CloudFormation whether this machine is up. It listens while it makes or replaces one, and at no other time: what
# it says to a machine that came up by itself is no reason to fail.
signal() {
    aws cloudformation signal-resource --stack-name "$STACK" --status "$1" \
        --logical-resource-id "$(metadata tags/instance/signals)" --unique-id "$(metadata instance-id)" || true
}

# Runs a command once a second until it succeeds, for so many seconds at most.
wait_for() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || { echo "gave up waiting for: $*" >&2; return 1; }
        sleep 1
    done
}

# Writes standard input to a file of this mode, whole or not at all.
write_file() {
    local mode=$1 path=$2 new
    new=$(mktemp "$path.XXXXXX")
    cat >"$new"
    chmod "$mode" "$new"
    mv "$new" "$path"
}
