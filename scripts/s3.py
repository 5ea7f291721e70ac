"""Runs a local S3, moto's server, with a dataset in the bucket that events/ names. Ctrl-C stops it.

Usage: python scripts/s3.py PORT DIR
"""

import pathlib
import signal
import sys

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "atelier-datasets"
PREFIX = "incoming/spring/"

port, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])
server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
server.start()
url = f"http://127.0.0.1:{port}"
s3 = boto3.client(
    "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
)
for bucket in (BUCKET, "atelier-rejects"):
    s3.create_bucket(Bucket=bucket)
for file in sorted(folder.glob("*.csv")):
    s3.upload_file(str(file), BUCKET, PREFIX + file.name)
    print(f"s3://{BUCKET}/{PREFIX}{file.name}")
print(f"S3 runs on {url}. To load this dataset, use make watch and make invoke FN=etl, or run", flush=True)
print(f"AWS_ENDPOINT_URL={url} AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x atelier-etl load s3://{BUCKET}/{PREFIX}",
      flush=True)
signal.sigwait({signal.SIGINT, signal.SIGTERM})
server.stop()
