"""The stack of template.yaml on the local cloud: build, deployment, routes and credentials."""

from __future__ import annotations

import fcntl
import hashlib
import json
import subprocess
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from botocore.exceptions import ClientError
from samtranslator.yaml_helper import yaml_parse

from scripts.credentials import ApiKeys, sha256, signed
from scripts.emulator import ACCOUNT, REGION, ROOT, Emulator
from scripts.progress import Failure, run, step
from scripts.routes import routes_in, sync_routes
from usage_billing.access.callers import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

STACK_NAME = "usage-billing-local"
BUCKET = "usage-billing-local-artifacts"
SAM = ROOT / ".local/sam/bin/sam"
LAYER_PYTHON = ROOT / ".local/ministack/bin/python"
SOURCES = ("template.yaml", "infra", "functions", "layers")
FIXED = ("infra/tables.yaml", "infra/queues.yaml", "infra/logs.yaml")
"""Nested stacks that MiniStack cannot update. It loses the attributes of their resources, which the outputs need."""

ADMIN_TOKEN_LIFETIME = timedelta(days=30)


class Jwt(TypedDict):
    algorithm: str
    secret: str
    issuer: str
    audience: str


class Stack(TypedDict):
    """The contents of stack.json: everything that a client of the local stack needs."""

    apiUrl: str
    endpointUrl: str
    region: str
    stackName: str
    internalApiKey: str
    adminToken: str
    jwt: Jwt


def deploy(cloud: Emulator) -> Stack:
    """Deploy the sources to the local cloud if they have changed, and write stack.json."""
    fingerprint = _fingerprint()
    present = bool(_outputs(cloud))
    if present and cloud.state.get("deployed") == fingerprint:
        print("  Nothing to deploy: no changes since the last deployment", flush=True)
    else:
        if present:
            _refuse_changes_to_fixed(cloud)
        _build_and_deploy(cloud, fingerprint)
        cloud.note(fixed=_fixed_fingerprints())
        with step("Creating the API routes"):
            _create_routes(cloud)
        cloud.note(deployed=fingerprint)
    stack = _describe(cloud)
    cloud.stack_file.write_text(json.dumps(stack, indent=2) + "\n")
    return stack


def _refuse_changes_to_fixed(cloud: Emulator) -> None:
    """Fail before starting an update that MiniStack cannot complete.

    Raises:
        Failure: a nested stack of FIXED has changed since it was deployed.
    """
    deployed = cloud.state.get("fixed", {})
    changed = [name for name, now in _fixed_fingerprints().items() if deployed.get(name) != now]
    if changed:
        raise Failure(
            f"{' and '.join(changed)} changed, and the local cloud cannot update the existing resources.\n"
            "Start over with an empty cloud: make stop FRESH=1 && make local"
        )


def _fixed_fingerprints() -> dict[str, str]:
    """Return the fingerprints of the files in FIXED. Comments do not count, because SAM does not deploy them."""
    contents = {name: json.dumps(yaml_parse((ROOT / name).read_text())) for name in FIXED}
    return {name: hashlib.sha256(content.encode()).hexdigest() for name, content in contents.items()}


def _fingerprint() -> str:
    """Return a hash of all deployed files and of the interpreter that runs them."""
    digest = hashlib.sha256(_runtime().encode())
    for file in sorted(_source_files()):
        digest.update(f"{file.relative_to(ROOT)}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _source_files() -> Iterator[Path]:
    for name in SOURCES:
        source = ROOT / name
        files = source.rglob("*") if source.is_dir() else [source]
        yield from (file for file in files if file.is_file() and "__pycache__" not in file.parts)


def _runtime() -> str:
    """Return the kind of interpreter that runs the local functions, such as cpython-313-linux-x86_64."""
    code = "import sys, sysconfig as s; print(sys.implementation.cache_tag, s.get_platform(), sep='-')"
    printed = subprocess.run([LAYER_PYTHON, "-I", "-c", code], capture_output=True, text=True, check=True)
    return printed.stdout.strip()


def build_home() -> Path:
    """Return the folder of the builds for this machine. Its subfolder `build` is deployed, and is not zipped."""
    return ROOT / ".local/build" / _runtime()


def _build_and_deploy(cloud: Emulator, fingerprint: str) -> None:
    home = build_home()
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home / "lock"):  # all local clouds of this checkout share the build
        _build(home, fingerprint, cloud)
        with step("Deploying the stack"):
            _deploy_template(home / "build/template.yaml", cloud)


@contextmanager
def _locked(lock_file: Path) -> Iterator[None]:
    with lock_file.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(home: Path, fingerprint: str, cloud: Emulator) -> None:
    built = home / "fingerprint"
    if built.exists() and built.read_text() == fingerprint:
        return
    built.unlink(missing_ok=True)
    with step("Building layers and functions"):
        run(
            [
                *(str(SAM), "build", "--cached"),
                *("--build-dir", str(home / "build"), "--cache-dir", str(home / "cache")),
            ],
            log=cloud.directory / "build.log",
            env=cloud.environment() | {"LAYER_PYTHON": str(LAYER_PYTHON)},
            cwd=ROOT,
        )
    built.write_text(fingerprint)


def _deploy_template(template: Path, cloud: Emulator) -> None:
    cloud.session.client("s3", endpoint_url=cloud.url).create_bucket(Bucket=BUCKET)
    try:
        run(
            [
                *(str(SAM), "deploy", "--template-file", str(template), "--stack-name", STACK_NAME),
                *("--s3-bucket", BUCKET, "--region", REGION, "--parameter-overrides", "Stage=local"),
                *("--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"),
                *("--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"),
            ],
            log=cloud.directory / "deploy.log",
            env=cloud.environment() | {"SAM_CLI_POLL_DELAY": "0.5"},  # the default is 5 s
            cwd=ROOT,
        )
    except Failure as failure:
        hint = "If it keeps failing, start over with an empty cloud: make stop FRESH=1 && make local"
        raise Failure(f"{failure}\n{_failures(cloud)}\n{hint}") from None


def _failures(cloud: Emulator) -> str:
    """Return the reasons why resources failed. SAM prints them too early to be in the tail of its output."""
    formation = cloud.session.client("cloudformation", endpoint_url=cloud.url)
    events = formation.describe_stack_events(StackName=STACK_NAME)["StackEvents"]
    return "\n".join(
        f"{event['LogicalResourceId']}: {event['ResourceStatusReason']}"
        for event in events
        if event["ResourceStatus"].endswith("_FAILED") and event.get("ResourceStatusReason")
    )


def _create_routes(cloud: Emulator) -> None:
    formation = cloud.session.client("cloudformation", endpoint_url=cloud.url)
    template: Any = formation.get_template(StackName=STACK_NAME, TemplateStage="Processed")["TemplateBody"]
    arns = _function_arns(cloud)
    wanted = {key: arns[name] for key, name in routes_in(template, "Api").items()}
    gateway = cloud.session.client("apigatewayv2", endpoint_url=cloud.url)
    sync_routes(gateway, _outputs(cloud)["ApiId"], wanted)


def _function_arns(cloud: Emulator) -> dict[str, str]:
    """Return logical id -> ARN for the functions and aliases of the stack."""
    formation = cloud.session.client("cloudformation", endpoint_url=cloud.url)
    prefix = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:"
    return {
        resource["LogicalResourceId"]: prefix + resource["PhysicalResourceId"].removeprefix(prefix)
        for page in formation.get_paginator("list_stack_resources").paginate(StackName=STACK_NAME)
        for resource in page["StackResourceSummaries"]
        if resource["ResourceType"] in {"AWS::Lambda::Function", "AWS::Lambda::Alias"}
    }


def _outputs(cloud: Emulator) -> Mapping[str, str]:
    """Return the outputs of the stack, or nothing if there is no stack."""
    formation = cloud.session.client("cloudformation", endpoint_url=cloud.url)
    try:
        stack = formation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]
    except ClientError:
        return {}
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _describe(cloud: Emulator) -> Stack:
    outputs = _outputs(cloud)
    vault = cloud.session.client("secretsmanager", endpoint_url=cloud.url)
    token = Jwt(
        algorithm="HS256",
        secret=vault.get_secret_value(SecretId=outputs["JwtSecretArn"])["SecretString"],
        issuer=outputs["JwtIssuer"],
        audience=outputs["JwtAudience"],
    )
    return Stack(
        apiUrl=emulated_api_url(cloud.url, outputs),
        endpointUrl=cloud.url,
        region=REGION,
        stackName=STACK_NAME,
        internalApiKey=_internal_api_key(ApiKeys(vault, outputs["ApiKeysSecretArn"]), cloud.stack_file),
        adminToken=signed(token, "admin", "admin", ADMIN_TOKEN_LIFETIME),
        jwt=token,
    )


def emulated_api_url(endpoint: str, outputs: Mapping[str, str]) -> str:
    """Return the URL of the stack's API on an emulator, which does not serve the host name in ApiUrl."""
    return f"{endpoint}/_aws/execute-api/{outputs['ApiId']}/$default"


def _internal_api_key(keys: ApiKeys, stack_file: Path) -> str:
    """Return the key in stack.json if the stack accepts it, else add a new key."""
    known = json.loads(stack_file.read_text())["internalApiKey"] if stack_file.exists() else ""
    present = keys.all()
    if any(key["sha256"] == sha256(known) for key in present):
        return str(known)
    return keys.add(f"local-{len(present) + 1}", Scope.OPERATE)
