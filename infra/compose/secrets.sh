#!/usr/bin/env bash
# Writes a random secret per file into infra/compose/secrets/; those that exist stay.
set -euo pipefail
cd "$(dirname "$0")"

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# The folder is the owner's alone; in it files are readable, since containers mount them one by
# one and run as users that this machine does not know.
umask 077
mkdir -p secrets
for name in postgres postgres_dagster postgres_mlflow store_key mlflow_admin mlflow_session \
    ray_token service_token grafana; do
    [ -s "secrets/$name" ] || random >"secrets/$name"
    chmod 0444 "secrets/$name"
done
# What webhooks sign with lies in MLflow's database, under this key (Fernet's form: 32 bytes).
[ -s secrets/mlflow_webhooks ] || head -c 32 /dev/urandom | base64 -w0 | tr '+/' '-_' \
    >secrets/mlflow_webhooks
# Until there is an account that only reads, the service reads as admin.
[ -s secrets/mlflow_reader ] || cp secrets/mlflow_admin secrets/mlflow_reader
if [ ! -s secrets/store_identities ]; then
    cat >secrets/store_identities <<JSON
{"identities": [{"name": "vitlens", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
  "credentials": [{"accessKey": "vitlens", "secretKey": "$(cat secrets/store_key)"}]}]}
JSON
fi
chmod 0444 secrets/mlflow_reader secrets/mlflow_webhooks secrets/store_identities
