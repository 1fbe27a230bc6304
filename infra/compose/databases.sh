#!/usr/bin/env bash
# Run once by Postgres' image, in an empty cluster: a role per program, and its databases.
set -euo pipefail

make() {
    local role=$1 database
    shift
    psql -v ON_ERROR_STOP=1 --username postgres -v role="$role" \
        -v password="$(cat "/run/secrets/postgres_$role")" <<'SQL'
CREATE ROLE :"role" LOGIN PASSWORD :'password';
SQL
    for database in "$@"; do
        createdb --username postgres --owner "$role" "$database"
        psql -v ON_ERROR_STOP=1 --username postgres -c "REVOKE CONNECT ON DATABASE $database FROM PUBLIC"
    done
}

make dagster dagster
make mlflow mlflow mlflow_auth
