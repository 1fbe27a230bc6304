#!/usr/bin/env bash
# Prints the cluster's secrets, a Secret per part with no more than it needs, made of the files of
# infra/compose/secrets.sh:
#
#   infra/compose/secrets.sh && infra/kubernetes/secrets.sh | kubectl apply -f -
#
# No secret is an argument of a process. Where a secret store is at hand, let it make these instead.
set -euo pipefail
files=$(cd "$(dirname "$0")/../compose/secrets" && pwd)

# Signs models and the results of gates; on a server the home keeps it, here no home stays.
[ -s "$files/signing_key" ] ||
    (umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$files/signing_key")

entry() { printf '  %s: %s\n' "$1" "$(base64 -w0 <"$files/$2")"; }

secret() {
    local name=$1
    shift
    printf -- '---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: vitlens}\ntype: Opaque\ndata:\n' "$name"
    while [ $# -gt 0 ]; do
        entry "$1" "$2"
        shift 2
    done
}

secret vitlens-ray auth_token ray_token
secret vitlens-signing signing.key signing_key
secret vitlens-dagster DAGSTER_PG_PASSWORD postgres_dagster
secret vitlens-work DAGSTER_PG_PASSWORD postgres_dagster AWS_SECRET_ACCESS_KEY store_key \
    MLFLOW_TRACKING_PASSWORD mlflow_admin
secret vitlens-mlflow PGPASSWORD postgres_mlflow AWS_SECRET_ACCESS_KEY store_key \
    MLFLOW_AUTH_ADMIN_PASSWORD mlflow_admin MLFLOW_FLASK_SERVER_SECRET_KEY mlflow_session \
    MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY mlflow_webhooks
secret vitlens-service VITLENS_TOKEN service_token AWS_SECRET_ACCESS_KEY store_key \
    MLFLOW_TRACKING_PASSWORD mlflow_reader
secret vitlens-backup PGPASSWORD postgres AWS_SECRET_ACCESS_KEY store_key
# For the overlay `local` alone.
secret vitlens-roles dagster postgres_dagster mlflow postgres_mlflow
secret vitlens-store identities.json store_identities
