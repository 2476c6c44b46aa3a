"""What others find by its well-known address: the public keys that tokens are verified with."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from gaugehouse.web.pace import paces_of
from gaugehouse.web.problems import refusals
from gaugehouse.web.security import InRuntime

KEYS_PATH = "/.well-known/jwks.json"
FRESH_S = 60  # whoever meets a `kid` that is not in it should ask again

router = APIRouter(tags=["access"])


class PublicKey(BaseModel):
    """A public Ed25519 key (RFC 7517, RFC 8037)."""

    kid: str = Field(examples=["kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"], description="RFC 7638 thumbprint")
    kty: str = Field(examples=["OKP"])
    crv: str = Field(examples=["Ed25519"])
    x: str = Field(examples=["11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"], description="The key, base64url")
    alg: str = Field(examples=["EdDSA"])
    use: str = Field(examples=["sig"])


class PublicKeys(BaseModel):
    """All keys that verify tokens right now; the next one is among them before it signs."""

    keys: list[PublicKey]


@router.get(
    KEYS_PATH, summary="Public keys of tokens", operation_id="read_public_keys", responses=refusals(422, 429, 503)
)
def read_public_keys(request: Request, runtime: InRuntime, response: Response) -> PublicKeys:
    """Return the keys that access tokens are verified with, for services beside this one."""
    paces_of(request).refuse_stranger(request.scope)
    response.headers["Cache-Control"] = f"public, max-age={FRESH_S}"
    return PublicKeys.model_validate(runtime.access.describe_keys())
