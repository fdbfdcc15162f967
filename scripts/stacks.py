"""The stack that a command acts on, with its outputs, parameters and secrets.

STACK names a stack in the account of the environment's AWS credentials. Without STACK, commands act on the local cloud.
If API_URL is set too, it must be the URL of the same stack.
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
    """A stack on AWS or on the local cloud, as CloudFormation describes it."""

    name: str
    session: boto3.Session
    endpoint: str | None
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]

    @classmethod
    def named(cls, name: str | None) -> DeployedStack:
        """Return the stack `name` in the account of the environment's AWS credentials, or the local stack for None.

        Raises:
            Failure: there is no such stack, AWS refuses the request, or API_URL is the URL of another stack.
        """
        url = os.environ.get(API_URL, "").rstrip("/")
        if name:
            # boto3 reads only AWS_DEFAULT_REGION. The other AWS tools also read AWS_REGION.
            session = boto3.Session(region_name=os.environ.get("AWS_REGION") or None)
            endpoint = None
        elif url and not is_local(url):
            raise Failure(f"This command needs the stack behind {API_URL}: set {STACK} to its name.")
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
        """Return the secret and the claims for signing tokens.

        Raises:
            Failure: an identity provider signs the tokens, or the secret cannot be read.
        """
        algorithm = self.parameters.get("JwtAlgorithm", "HS256")
        if algorithm != "HS256":
            raise Failure(
                f"{self.name} accepts {algorithm} tokens, which only its identity provider can sign.\n"
                "Set TEST_AUTH_TOKEN to one of its tokens, or API_KEY to a key (make api-key ID=... SCOPE=operate)."
            )
        try:
            secret = self.vault.get_secret_value(SecretId=self.outputs["JwtSecretArn"])["SecretString"]
        except (BotoCoreError, ClientError) as error:
            raise Failure(
                f"The signing secret of {self.name} cannot be read: {error}\n"
                "Set TEST_AUTH_TOKEN to a token, or API_KEY to an API key of the stack."
            ) from None
        return {
            "algorithm": algorithm,
            "secret": secret,
            "issuer": self.outputs["JwtIssuer"],
            "audience": self.outputs["JwtAudience"],
        }
