"""Which stack a command acts on, and what that stack says about itself: outputs, parameters, secrets.

STACK names a stack in the account of the environment's AWS credentials; without it, it is the local cloud's. API_URL
must be the URL of the same stack.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from scripts.credentials import ApiKeys
from scripts.emulator import Emulator
from scripts.local_cloud import API_URL, STACK, LocalCloud, is_local
from scripts.local_stack import emulated_api_url
from scripts.progress import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_secretsmanager import SecretsManagerClient

    from scripts.local_stack import Jwt


@dataclass(frozen=True, slots=True)
class DeployedStack:
    """A stack as CloudFormation describes it: on AWS by its name, else the local cloud's."""

    name: str
    session: boto3.Session
    endpoint: str | None
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]

    @classmethod
    def named(cls, name: str | None) -> DeployedStack:
        """Return the stack `name` in the account of the environment's AWS credentials; None is the local cloud's.

        Raises:
            Failure: there is no such stack, it cannot be asked for, or API_URL names another one's API.
        """
        url = os.environ.get(API_URL, "").rstrip("/")
        if name:
            # boto3 reads AWS_DEFAULT_REGION alone; AWS's other tools read AWS_REGION, too.
            session = boto3.Session(region_name=os.environ.get("AWS_REGION") or None)
            endpoint = None
        elif url and not is_local(url):
            raise Failure(f"{API_URL} is set, and this needs the stack behind it: set {STACK} to its name.")
        else:
            local = LocalCloud().stack()
            session, endpoint, name = Emulator().session, local["endpointUrl"], local["stackName"]
        try:
            formation = session.client("cloudformation", endpoint_url=endpoint)
            stack: Any = formation.describe_stacks(StackName=name)["Stacks"][0]
        except (BotoCoreError, ClientError) as error:
            where = session.region_name or "no region (set AWS_REGION)"
            raise Failure(f"The stack {name} cannot be described in {where}: {error}") from None
        found = cls(
            name=name,
            session=session,
            endpoint=endpoint,
            outputs={each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])},
            parameters={each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", [])},
        )
        if url and url != found.api_url:
            raise Failure(f"{API_URL} is {url}, but the API of {name} is {found.api_url}. Unset {API_URL} or {STACK}.")
        return found

    @property
    def api_url(self) -> str:
        emulator = self._emulator
        return emulated_api_url(emulator, self.outputs) if emulator else self.outputs["ApiUrl"]

    @property
    def is_emulated(self) -> bool:
        return self._emulator is not None

    @property
    def _emulator(self) -> str | None:
        return self.endpoint or os.environ.get("AWS_ENDPOINT_URL") or None

    @property
    def vault(self) -> SecretsManagerClient:
        return self.session.client("secretsmanager", endpoint_url=self.endpoint)

    @property
    def api_keys(self) -> ApiKeys:
        return ApiKeys(self.vault, self.outputs["ApiKeysSecretArn"])

    def jwt(self) -> Jwt:
        """Return what signs the stack's tokens.

        Raises:
            Failure: an identity provider does, or the secret cannot be read.
        """
        algorithm = self.parameters.get("JwtAlgorithm", "HS256")
        if algorithm != "HS256":
            raise Failure(
                f"{self.name} takes {algorithm} tokens, which only its identity provider can sign. Get one there and\n"
                "set TEST_AUTH_TOKEN to it, or set API_KEY to a key of the stack (make api-key ID=... SCOPE=operate)."
            )
        try:
            secret = self.vault.get_secret_value(SecretId=self.outputs["JwtSecretArn"])["SecretString"]
        except (BotoCoreError, ClientError) as error:
            raise Failure(
                f"The signing secret of {self.name} cannot be read: {error}\n"
                "Set TEST_AUTH_TOKEN to a token, or API_KEY to a key of the stack."
            ) from None
        return {
            "algorithm": algorithm,
            "secret": secret,
            "issuer": self.outputs["JwtIssuer"],
            "audience": self.outputs["JwtAudience"],
        }
