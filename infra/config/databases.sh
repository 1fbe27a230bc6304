#!/usr/bin/env bash
# Run once by Postgres' image, in an empty cluster: a role per program, and its databases. The
# password of a role is read from the file named by ROLE_PASSWORDS and the role's name.
set -euo pipefail
passwords=${ROLE_PASSWORDS:-/run/secrets/postgres_}

make() {
    local role=$1 database
    shift
    psql -v ON_ERROR_STOP=1 --username postgres -v role="$role" \
        -v password="$(cat "$passwords$role")" <<'SQL'
CREATE ROLE :"role" LOGIN PASSWORD :'password';
SQL
    # A provider's login is no superuser: it may give a database to a role only as its member.
    psql -v ON_ERROR_STOP=1 --username postgres -c "GRANT $role TO CURRENT_USER"
    for database in "$@"; do
        createdb --username postgres --owner "$role" "$database"
        psql -v ON_ERROR_STOP=1 --username postgres -c "REVOKE CONNECT ON DATABASE $database FROM PUBLIC"
    done
}

make dagster dagster
make mlflow mlflow mlflow_auth
