"""Before everything starts: the buckets exist, and the databases fit this release.

Run by the image at every `up`, so that an upgrade is a new image and another `up`.
"""

from __future__ import annotations

import os
import subprocess
import sys

import boto3
from botocore.exceptions import ClientError

BUCKETS = ("vitlens", "mlflow")


def make_buckets() -> None:
    """Create the buckets that are missing."""
    client = boto3.client("s3")
    for bucket in BUCKETS:
        try:
            client.head_bucket(Bucket=bucket)
        except ClientError:
            client.create_bucket(Bucket=bucket)


def migrate() -> None:
    """Bring both databases to the tables of this release; those that fit stay as they are."""
    dagster = [sys.executable, "-m", "dagster", "instance", "migrate"]
    # MLflow makes the tables of an empty database itself, and refuses an older one.
    mlflow = [sys.executable, "-m", "mlflow", "db", "upgrade"]
    subprocess.run(dagster, check=True)
    subprocess.run([*mlflow, os.environ["MLFLOW_BACKEND_STORE_URI"]], check=True)


if __name__ == "__main__":
    make_buckets()
    migrate()
