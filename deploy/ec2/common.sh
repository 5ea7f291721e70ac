# shellcheck shell=bash
# Functions for the setup scripts of all tiers: instance metadata, the stack's parameters and secrets, signals. Source
# this file; it runs nothing by itself. The template's user data writes the variables into /etc/atelier/stack.env.

# A failure inside $(…) fails the script. Otherwise a failed AWS call would look like a stack without hosts.
shopt -s inherit_errexit

# Prints a value of the instance metadata: `metadata instance-id`, `metadata tags/instance/slot`.
metadata() {
    local token address=http://169.254.169.254/latest
    token=$(curl -fsS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$address/api/token")
    curl -fsS -H "X-aws-ec2-metadata-token: $token" "$address/meta-data/$1"
}

# Prints a parameter of the stack, or nothing while it has the initial value from the template.
parameter() {
    local value
    value=$(aws ssm get-parameter --name "$1" --query Parameter.Value --output text)
    [ "$value" = "$UNSET" ] || printf '%s\n' "$value"
}

secret() {
    aws secretsmanager get-secret-value --secret-id "$1" --query SecretString --output text
}

# Installs missing packages and upgrades none: a new release must not also change the version of Postgres or NGINX.
install_packages() {
    apt-get install --yes --no-install-recommends --no-upgrade "$@"
}

# Installs the man pages and the completions of a program, for `man atelier-host` on the instance.
install_help() {
    local from=${release:?expected the folder of the release}/share
    install -D -m 0644 -t /usr/local/share/man/man1 "$from"/man/man1/"$1"*
    install -D -m 0644 -t /usr/local/share/bash-completion/completions "$from/bash-completion/completions/$1"
}

# Signals SUCCESS or FAILURE to CloudFormation, which accepts a signal only while it creates or replaces the instance.
# At other times, such as when an Auto Scaling group replaces a host, the call fails; that error is ignored.
signal() {
    aws cloudformation signal-resource --stack-name "$STACK" --status "$1" \
        --logical-resource-id "$(metadata tags/instance/signals)" --unique-id "$(metadata instance-id)" || true
}

# Runs a command once a second until it succeeds: wait_for <max seconds> <command>.
wait_for() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || { echo "timed out waiting for: $*" >&2; return 1; }
        sleep 1
    done
}

# Writes standard input to a file atomically: write_file <mode> <path>.
write_file() {
    local mode=$1 path=$2 new
    new=$(mktemp "$path.XXXXXX")
    cat >"$new"
    chmod "$mode" "$new"
    mv "$new" "$path"
}
