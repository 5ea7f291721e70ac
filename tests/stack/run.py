"""Tests the whole stack without AWS: deploys template.yaml to ministack, with a private Postgres.

The test uploads a dataset to the incoming bucket, and S3, SQS and etl publish it. It sends requests on every route of
the HTTP API, before and after an update of the stack, and deletes the stack. docs/deploy-lambda.md describes what this
covers.
"""

import gzip
import http.client
import json
import os
import pathlib
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from contextlib import AbstractContextManager, closing
from urllib.parse import quote, urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError, WaiterError
from samtranslator.yaml_helper import yaml_parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug"
SMALL = ROOT / "tests/data/small"
EXPECTED = SMALL / "expected"

# The resources that ministack 1.5.33 cannot create. `template_copy` omits them.
LACKING = {
    "FunctionsIntoDatabase": "ministack has no AWS::EC2::SecurityGroupIngress",
    "LoadIntoDatabase": "ministack has no AWS::EC2::SecurityGroupIngress",
    "ApiErrors": "ministack does not support alarms on metric math",
}

STACK, REGION, PACKAGES, DATABASE = "shop", "eu-central-1", "packages", "atelier"
TIMEOUT = 120  # seconds, for each step
CART = {"authorization": "Bearer stack", "content-type": "application/json"}


class Failure(Exception):
    """A failed step, with a message for the developer."""


def check(is_true, what):
    if not is_true:
        raise Failure(what)


def report(progress, started=time.monotonic()):
    print(f"[{time.monotonic() - started:5.1f} s] {progress}", flush=True)


def wait(what, probe):
    """Polls `probe` until it returns a true value, and returns that value."""
    deadline = time.monotonic() + TIMEOUT
    while not (result := probe()):
        check(time.monotonic() < deadline, f"{what}: not within {TIMEOUT} s")
        time.sleep(0.2)
    return result


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    check(done.returncode == 0, f"{command[0]}: exit status {done.returncode}: {done.stdout.strip()}")


def make_database(sockets):
    """Creates the database as docs/deploy-lambda.md describes, with a login for each function."""
    psql = shutil.which("psql", path=os.pathsep.join([os.environ.get("PG_BIN", ""), os.environ["PATH"]]))
    check(psql, "psql: not in PG_BIN or PATH; install the Postgres client")
    psql = [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", sockets, "-U", "atelier", "-d"]
    run(*psql, "postgres", "-c", f"create database {DATABASE}")
    url = f"postgresql:///{DATABASE}?host={quote(sockets)}&user=atelier"
    run(PROGRAMS / "atelier-etl", "migrate", "--database-url", url)
    run(*psql, DATABASE, "-f", ROOT / "functions/logins.sql")


class Ministack(AbstractContextManager):
    """ministack on a free port of 127.0.0.1. When this process exits, ministack, its functions and its files go too."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="atelier-stack-"))
        self.log = tempfile.TemporaryFile()
        # The functions inherit these, so they include only PATH of the developer's variables. AUTH enforces policies.
        variables = {
            "PATH": os.environ["PATH"], "HOME": self.folder, "TMPDIR": self.folder, "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port), "AWS_ENDPOINT_URL": self.url, "MINISTACK_REGION": REGION,
            "LAMBDA_EXECUTOR": "local", "AUTH": "true", "SFTP_ENABLED": "0", "IOT_MTLS_ENABLED": "0",
        }
        supervisor = ["sh", ROOT / "local/src/supervisor.sh", "TERM", self.folder]
        self.process = subprocess.Popen([*supervisor, sys.executable, "-m", "ministack"], env=variables, cwd=self.folder,
                                        stdin=subprocess.PIPE, stdout=self.log, stderr=self.log, start_new_session=True)

    def __exit__(self, _, error, __):
        if error and not isinstance(error, SystemExit):
            self.log.seek(0)
            log = b"".join(self.log.readlines()[-20:]).decode(errors="replace")
            print(f"The last lines of ministack's log:\n{log}", file=sys.stderr)
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            shutil.rmtree(self.folder, ignore_errors=True)

    def is_ready(self):
        check(self.process.poll() is None, "ministack exited")
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def client(self, service):
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}  # ministack treats them as root
        return boto3.client(service, endpoint_url=self.url, region_name=REGION, **keys)

    def request(self, api, method, path, body=None, **headers):
        """Sends a request to the HTTP API at this URL; returns the status, the headers and the body."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, body, {"host": urlsplit(api).netloc, **CART, **headers})
            response = connection.getresponse()
            return response.status, response.headers, response.read()


def upload_packages(s3, folder):
    """Uploads the packages to the keys that `template_copy` uses."""
    names = sorted(main.parents[1].name for main in ROOT.glob("functions/*/src/main.rs"))
    package, stripped = str(folder / "package.zip"), folder / "bootstrap"
    for key in ["etl", *(f"functions/{name}" for name in names)]:
        program = PROGRAMS / pathlib.Path(key).name
        check(program.exists(), f"{program}: missing; run `cargo build --workspace`")
        run("strip", "-o", stripped, program)
        with zipfile.ZipFile(package, "w") as archive:
            archive.write(stripped, "bootstrap")
        s3.upload_file(package, PACKAGES, key)
    s3.upload_file(shutil.make_archive(str(folder / "ca"), "zip", ROOT / "ca"), PACKAGES, "ca/")


def template_copy(sockets):
    """Returns template.yaml as JSON: without LACKING, with packages in a bucket, and with the database on a socket."""
    template = yaml_parse((ROOT / "template.yaml").read_text())
    resources = {name: made for name, made in template["Resources"].items() if name not in LACKING}
    loops = [loop[-1] for name, loop in resources.items() if name.startswith("Fn::ForEach::")]
    for resource in [made for group in [resources, *loops] for made in group.values() if isinstance(made, dict)]:
        properties = resource.get("Properties", {})
        for uri in {"CodeUri", "ContentUri"} & properties.keys():
            properties[uri] = {"Bucket": PACKAGES, "Key": properties[uri]}
        properties.get("DeploymentPreference", {}).pop("Alarms", None)  # ministack has no CodeDeploy
        for of_rds in ("DATABASE_AUTH", "DATABASE_CA_FILE"):
            properties.get("Environment", {}).get("Variables", {}).pop(of_rds, None)
    text, server = json.dumps(template | {"Resources": resources}), "${DatabaseHost}:${DatabasePort}"
    check(text.count(server) == 2, "template.yaml: expected two DATABASE_URLs, for the endpoints and for etl")
    text = text.replace('"aws:SecureTransport": "false"', '"aws:SecureTransport": "never"')  # ministack has no TLS
    return text.replace(server, quote(sockets, safe=""))


class Stack:
    """The stack, in ministack's CloudFormation."""

    def __init__(self, ministack, sockets):
        self.cloudformation = ministack.client("cloudformation")
        ec2, s3 = ministack.client("ec2"), ministack.client("s3")
        s3.create_bucket(Bucket=PACKAGES, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_object(Bucket=PACKAGES, Key="template.json", Body=template_copy(sockets))
        upload_packages(s3, ministack.folder)
        self.template = f"{ministack.url}/{PACKAGES}/template.json"
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24")["Subnet"]["SubnetId"] for n in (1, 2)]
        group = ec2.create_security_group(GroupName="database", Description="database", VpcId=vpc)["GroupId"]
        self.parameters = {
            "VpcId": vpc, "SubnetIds": ",".join(subnets), "DatabaseSecurityGroupId": group, "DatabaseName": DATABASE,
            "S3PrefixListId": "pl-0123abcd", "DatabaseHost": "database.example", "DatabaseResourceId": "db-ABC",
            "Architecture": "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64",
        }

    def deploy(self, action, waiter, **changed):
        """Creates or updates the stack, and returns its outputs."""
        self.parameters |= changed
        parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in self.parameters.items()]
        action(StackName=STACK, TemplateURL=self.template, Parameters=parameters,
               Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"])
        self.wait(waiter)
        outputs = self.cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]["Outputs"]
        return {output["OutputKey"]: output["OutputValue"] for output in outputs}

    def wait(self, waiter):
        try:
            limit = {"Delay": 1, "MaxAttempts": TIMEOUT}
            self.cloudformation.get_waiter(waiter).wait(StackName=STACK, WaiterConfig=limit)
        except WaiterError as error:
            events = self.cloudformation.describe_stack_events(StackName=STACK)["StackEvents"]
            reasons = [f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}" for event in events
                       if event["ResourceStatus"].endswith("FAILED")]
            raise Failure(f"{error}: {'; '.join(reasons)}") from None


# A product without styles, and the line of a sku, as in tests/src/cards.rs and cart_lines.rs.
CARD = ('{"id":12,"name":"Ferry Ticket Pocket","category":"Accessories","default_price":"5","original_price":null,'
        '"sale_price":null,"thumbnail_url":null,"in_stock":false}')
LINE = ('{"sku_id":1,"count":3,"product_id":1,"product_name":"Thistle Raincoat","style_id":1,"style_name":"Slate & Moss",'
        '"size":"XS","original_price":"185","sale_price":null,"thumbnail_url":"https://photos.example/1?w=300&q=80",'
        '"quantity":8}')


def request_every_route(ministack, outputs):
    """Sends requests on every route of the HTTP API, and returns the number of routes. Leaves the cart empty."""
    used = set()

    def expect(route, method, path, status, body=None, content=None, **headers):
        got, fields, text = ministack.request(outputs["ApiUrl"], method, path, content, **headers)
        text = gzip.decompress(text) if fields.get("content-encoding") == "gzip" else text
        check(got == status, f"{method} {path}: expected {status}, got {got}: {text[:500]!r}")
        check(body is None or text == body, f"{method} {path}: expected {body!r}, got {text!r}")
        used.add(route)
        return fields

    for slash in ("", "/"):
        for file in sorted(EXPECTED.rglob("*.json")):
            parts = file.relative_to(EXPECTED).with_suffix("").parts
            route = "/".join(["ANY ", parts[0], *["{product_id}" for _ in parts[1:2]], *parts[2:]])
            path = "/".join(["", *parts]) + f"{slash}?count=1000"  # only the product list reads count
            expect(route + slash, "GET", path, 200, file.read_bytes())
        gzipped = expect(route + slash, "GET", path, 200, file.read_bytes(), **{"accept-encoding": "gzip"})
        check(gzipped.get("content-encoding") == "gzip", f"GET {path}: expected a gzipped body")
        expect(f"ANY /cards{slash}", "GET", f"/cards{slash}?ids=12", 200, f"[{CARD}]".encode())
        expect(f"ANY /categories{slash}", "GET", f"/categories{slash}", 200)
        expect(f"ANY /catalog{slash}", "GET", f"/catalog{slash}", 200)
        cart = f"/cart{slash}"
        expect(f"POST {cart}", "POST", cart, 201, b"Created", b'{"sku_id":1,"count":2}')
        expect(f"ANY {cart}", "GET", cart, 200, b'[{"sku_id":1,"count":2}]')
        expect(f"PUT /cart/{{sku_id}}{slash}", "PUT", f"/cart/1{slash}", 200, b'{"sku_id":1,"count":3}', b'{"count":3}')
        expect(f"ANY /cart/lines{slash}", "GET", f"/cart/lines{slash}", 200, f"[{LINE}]".encode())
        expect(f"ANY /cart/{{sku_id}}{slash}", "DELETE", f"/cart/1{slash}", 204, b"")
        expect(f"ANY {cart}", "GET", cart, 200, b"[]")
        expect(f"POST {cart}", "POST", cart, 201, b"Created", b'{"sku_id":1}')
        expect(f"DELETE {cart}", "DELETE", cart, 204, b"")
        expect(f"ANY {cart}", "GET", cart, 200, b"[]")
    expect("ANY /products/{product_id}", "GET", "/products/999999999", 404)
    expect("ANY /products", "PUT", "/products", 405)
    expect("$default", "GET", "/nothing/here", 404)
    api = ministack.client("apigatewayv2")
    routes = {route["RouteKey"] for route in api.get_routes(ApiId=outputs["ApiId"])["Items"]}
    check(routes == used, f"routes without a request, or requests without a route: {sorted(routes ^ used)}")
    return len(routes)


def load(ministack, outputs):
    """Uploads the dataset to the incoming bucket, and waits until etl has published it and emptied the queue."""
    s3, sqs = ministack.client("s3"), ministack.client("sqs")

    def is_empty(queue):
        counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        return set(sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=counts)["Attributes"].values()) == {"0"}

    for file in sorted(SMALL.glob("*.csv")):
        s3.upload_file(str(file), outputs["IncomingBucket"], f"incoming/small/{file.name}")
    product = (outputs["ApiUrl"], "GET", "/products/1")
    wait("etl publishes, and /products/1 responds", lambda: ministack.request(*product)[0] == 200)
    wait("etl empties the queue", lambda: is_empty(outputs["LoadQueueUrl"]))
    check(is_empty(outputs["LoadDeadLettersUrl"]), "etl: expected no dead letters")
    rejects = s3.get_object(Bucket=outputs["RejectsBucket"], Key="small/1.csv")["Body"].read()
    check(rejects == (EXPECTED / "rejects.csv").read_bytes(), f"etl: expected other rejects than {rejects!r}")


def test(ministack, sockets):
    wait("ministack listens", ministack.is_ready)
    report("database migrated, ministack ready; packaging the functions")
    stack = Stack(ministack, sockets)
    report("creating the stack")
    outputs = stack.deploy(stack.cloudformation.create_stack, "stack_create_complete")
    body = json.loads(ministack.client("cloudwatch").get_dashboard(DashboardName=STACK)["DashboardBody"])
    searches = [metric[0]["expression"] for widget in body["widgets"] for metric in widget["properties"]["metrics"]
                if isinstance(metric[0], dict)]
    check(any(f' function="{STACK}-get-product"' in search for search in searches),
          f"the dashboard: expected a search of {STACK}-get-product in {searches}")
    report("stack created; loading a dataset")
    load(ministack, outputs)
    report("etl published the dataset, with the expected rejects; sending requests")
    report(f"all {request_every_route(ministack, outputs)} routes respond as expected; updating the stack")

    functions, live = ministack.client("lambda"), {"FunctionName": f"{STACK}-get-product", "Qualifier": "live"}
    before = functions.get_function_configuration(**live)["Version"]
    stack.deploy(stack.cloudformation.update_stack, "stack_update_complete", MemoryMegabytes="512")
    after = functions.get_function_configuration(**live)
    check((after["MemorySize"], after["Version"] != before) == (512, True),
          f"live: expected a new version with 512 MB, got {after}")
    report(f"all {request_every_route(ministack, outputs)} routes still respond as expected; deleting the stack")

    stack.cloudformation.delete_stack(StackName=STACK)
    stack.wait("stack_delete_complete")
    left = functions.list_functions()["Functions"] + ministack.client("apigatewayv2").get_apis()["Items"]
    check(not left, f"still present after the deletion: {left}")
    buckets = {bucket["Name"] for bucket in ministack.client("s3").list_buckets()["Buckets"]}
    check({outputs["IncomingBucket"], outputs["RejectsBucket"]} <= buckets, f"expected both buckets in {buckets}")
    report("stack deleted; its two buckets remain")


def main():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit("error: interrupted"))
    try:
        sockets = os.environ.get("ATELIER_TEST_CLUSTER")
        check(sockets, "ATELIER_TEST_CLUSTER: not set; run `make test-stack`")
        make_database(sockets)
        with Ministack() as ministack:
            test(ministack, sockets)
    except (Failure, BotoCoreError, ClientError, OSError, http.client.HTTPException) as error:
        sys.exit(f"error: {error}")


main()
