#!/usr/bin/env bash
# Writes a random secret per file into infra/compose/secrets/; those that exist stay.
set -euo pipefail
cd "$(dirname "$0")"

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# The folder is the owner's alone; in it files are readable, since containers mount them one by
# one and run as users that this machine does not know.
umask 077
mkdir -p secrets
names=(
    postgres postgres_dagster postgres_mlflow
    mlflow_admin mlflow_runs mlflow_reader mlflow_exporter mlflow_session
    store_key runs_store_key mlflow_store_key service_store_key exporter_store_key backup_store_key
    ray_token service_token grafana
)
for name in "${names[@]}"; do
    [ -s "secrets/$name" ] || random >"secrets/$name"
done
# What webhooks sign with lies in MLflow's database, under this key (Fernet's form: 32 bytes).
[ -s secrets/mlflow_webhooks ] || head -c 32 /dev/urandom | base64 -w0 | tr '+/' '-_' \
    >secrets/mlflow_webhooks

# Public keys of homes whose models are served and whose gates count; none yet.
touch secrets/trusted_keys

# Who may do what in the object store, made anew of the keys; `vitlens` makes the buckets.
identity() {
    local name=$1 key=$2
    shift 2
    printf '  {"name": "%s", "actions": [%s],\n   "credentials": [{"accessKey": "%s", "secretKey": "%s"}]}' \
        "$name" "$(printf ', "%s"' "$@" | cut -c3-)" "$name" "$(cat "secrets/$key")"
}
{
    printf '{"identities": [\n'
    identity vitlens store_key Admin
    printf ',\n'
    identity vitlens-runs runs_store_key Read:vitlens Write:vitlens List:vitlens
    printf ',\n'
    identity vitlens-mlflow mlflow_store_key Read:mlflow Write:mlflow List:mlflow
    printf ',\n'
    identity vitlens-service service_store_key Read:vitlens List:vitlens
    printf ',\n'
    identity vitlens-exporter exporter_store_key Read:vitlens List:vitlens
    printf ',\n'
    # And the note of when the last backup was made; a path counts if it ends with a star.
    identity vitlens-backup backup_store_key Read:mlflow Write:mlflow List:mlflow \
        'Write:vitlens/artifacts/last_backup.json*'
    printf '\n]}\n'
} >secrets/store_identities.new
mv -f secrets/store_identities.new secrets/store_identities
# The store takes new identities from whoever shows this certificate; no other part has its key.
[ -s secrets/store_certificate ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 \
    -nodes -days 36500 -subj /CN=store -keyout secrets/store_certificate_key \
    -out secrets/store_certificate 2>/dev/null

# Whom alerts are sent to: a secret as a whole, since addresses and passwords stand in it.
if [ ! -s secrets/alertmanager.yaml ]; then
    cat >secrets/alertmanager.yaml <<'YAML'
# Prometheus' alerts are sent to nobody yet: docs/deployment/server.md has receivers to fill in.
route:
  receiver: nobody
  group_by: [alertname]
receivers:
  - name: nobody
YAML
fi
chmod a+r "${names[@]/#/secrets/}" secrets/{mlflow_webhooks,store_identities,trusted_keys,alertmanager.yaml} \
    secrets/store_certificate{,_key}
