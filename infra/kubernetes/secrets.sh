#!/usr/bin/env bash
# Prints the cluster's secrets, a Secret per part with no more than it needs, made of the files of
# infra/compose/secrets.sh:
#
#   infra/compose/secrets.sh && infra/kubernetes/secrets.sh | kubectl apply -f -
#
# No secret is an argument of a process. Where a secret store is at hand, let it make these instead.
# With a provider's object store, write its keys into the files *_store_key, and their ids into files
# *_store_id beside them.
set -euo pipefail
umask 077
files=$(cd "$(dirname "$0")/../compose/secrets" && pwd)

# Signs models and the results of gates; on a server the home keeps it, here no home stays.
[ -s "$files/signing_key" ] || od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$files/signing_key"

# Its public half, as `vitlens key` prints it: the last 32 bytes of what openssl makes of the key
# behind its header (RFC 8410).
public_key() {
    {
        printf '302e020100300506032b657004220420'
        cat "$files/signing_key"
    } | tr -d '\n' | tr a-f A-F | basenc --base16 --decode |
        openssl pkey -inform DER -pubout -outform DER | tail -c 32 | od -An -v -tx1 | tr -d ' \n'
}

# Whose models are served and whose gates count: this cluster's, and those that you add, one a line.
touch "$files/trusted_keys"
own=$(public_key)
grep -q "^$own" "$files/trusted_keys" || echo "$own" >>"$files/trusted_keys"

# A Secret: its name, then its keys, each with the file that has its content, or with =CONTENT.
secret() {
    local name=$1 content
    shift
    printf -- '---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: vitlens}\ntype: Opaque\ndata:\n' "$name"
    while [ $# -gt 0 ]; do
        case $2 in
            =*) content=$(printf %s "${2#=}" | base64 -w0) ;;
            # An editor ends a file with a line end, which is no part of a password.
            *) content=$(printf %s "$(cat "$files/$2")" | base64 -w0) ;;
        esac
        printf '  %s: %s\n' "$1" "$content"
        shift 2
    done
}

# Sets `store` to an account of the object store: its id (vitlens-PART, or what a file says), its key.
store_of() {
    local id=vitlens${1:+-$1} prefix=${1:+$1_}
    [ ! -s "$files/${prefix}store_id" ] || id=$(cat "$files/${prefix}store_id")
    store=(AWS_ACCESS_KEY_ID "=$id" AWS_SECRET_ACCESS_KEY "${prefix}store_key")
}

# Sets `mlflow` to an account of MLflow: its name, its password.
mlflow_of() { mlflow=(MLFLOW_TRACKING_USERNAME "=$1" MLFLOW_TRACKING_PASSWORD "$2"); }

secret vitlens-ray auth_token ray_token
secret vitlens-signing signing.key signing_key
secret vitlens-trusted trusted.keys trusted_keys
secret vitlens-dagster DAGSTER_PG_PASSWORD postgres_dagster
store_of runs && mlflow_of runs mlflow_runs
secret vitlens-work "${store[@]}" "${mlflow[@]}"
store_of service && mlflow_of service mlflow_reader
secret vitlens-service "${store[@]}" "${mlflow[@]}" VITLENS_TOKEN service_token
store_of exporter && mlflow_of exporter mlflow_exporter
secret vitlens-exporter "${store[@]}" "${mlflow[@]}"
store_of mlflow
secret vitlens-mlflow "${store[@]}" PGPASSWORD postgres_mlflow \
    MLFLOW_AUTH_ADMIN_PASSWORD mlflow_admin MLFLOW_FLASK_SERVER_SECRET_KEY mlflow_session \
    MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY mlflow_webhooks
secret vitlens-migrate PGPASSWORD postgres_mlflow
store_of backup
secret vitlens-backup "${store[@]}" PGPASSWORD postgres
mlflow_of admin mlflow_admin
secret vitlens-accounts "${mlflow[@]}" PASSWORD_OF_RUNS mlflow_runs \
    PASSWORD_OF_SERVICE mlflow_reader PASSWORD_OF_EXPORTER mlflow_exporter
# For the overlay `local` alone.
store_of ''
secret vitlens-buckets "${store[@]}"
secret vitlens-roles dagster postgres_dagster mlflow postgres_mlflow
secret vitlens-store identities.json store_identities \
    certificate store_certificate certificate.key store_certificate_key
