"""What a deployed stack says about itself: its outputs, its parameters and the secrets they name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from scripts.credentials import ApiKeys
from scripts.emulator import Emulator
from scripts.local_cloud import LocalCloud
from scripts.progress import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_secretsmanager import SecretsManagerClient

    from scripts.local_stack import Jwt


@dataclass(frozen=True, slots=True)
class DeployedStack:
    """A stack as CloudFormation describes it: on AWS by its name, else the private cloud's."""

    session: boto3.Session
    endpoint: str | None
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]

    @classmethod
    def named(cls, name: str | None) -> DeployedStack:
        """The stack `name` in the account of the environment's AWS credentials; None is the private cloud's.

        Raises:
            Failure: there is no such stack, or it cannot be asked for.
        """
        if name:
            session, endpoint = boto3.Session(), None
        else:
            local = LocalCloud().stack()
            session, endpoint, name = Emulator().session, local["endpointUrl"], local["stackName"]
        try:
            formation = session.client("cloudformation", endpoint_url=endpoint)
            stack: Any = formation.describe_stacks(StackName=name)["Stacks"][0]
        except (BotoCoreError, ClientError) as error:
            raise Failure(f"The stack {name} cannot be described: {error}") from None
        return cls(
            session=session,
            endpoint=endpoint,
            outputs={each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])},
            parameters={each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", [])},
        )

    @property
    def vault(self) -> SecretsManagerClient:
        return self.session.client("secretsmanager", endpoint_url=self.endpoint)

    @property
    def api_keys(self) -> ApiKeys:
        return ApiKeys(self.vault, self.outputs["ApiKeysSecretArn"])

    def jwt(self) -> Jwt:
        """What signs the stack's tokens.

        Raises:
            Failure: an identity provider does.
        """
        algorithm = self.parameters.get("JwtAlgorithm", "HS256")
        if algorithm != "HS256":
            raise Failure(f"This stack takes {algorithm} tokens, which only its identity provider can sign.")
        return {
            "algorithm": algorithm,
            "secret": self.vault.get_secret_value(SecretId=self.outputs["JwtSecretArn"])["SecretString"],
            "issuer": self.outputs["JwtIssuer"],
            "audience": self.outputs["JwtAudience"],
        }
