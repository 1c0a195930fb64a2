"""The API's description, OpenAPI 3.1: what Litestar finds, and what it cannot know."""

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Litestar
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme

import zegel
from zegel.console.api.health import NodeHealth, Zones
from zegel.console.api.keys import SHIPMENT_TYPE, ImportKeyDocument, Keys, Shipment
from zegel.console.api.meters import MAX_ROWS, ImportResult, MeterDocument, Meters, NewMeter
from zegel.console.api.problem import MEDIA_TYPE, Problem
from zegel.console.api.quarantine import Fates, Quarantine, QuarantinedFrame
from zegel.console.api.readings import FORMATS, Readings

__all__ = ["describe"]

_METHODS = ("get", "post")

Tree = dict[str, Any]
_DOCUMENTS = (
    Problem,
    NodeHealth,
    Zones,
    Meters,
    MeterDocument,
    ImportResult,
    Readings,
    Quarantine,
    QuarantinedFrame,
    Fates,
    Keys,
    ImportKeyDocument,
    Shipment,
)
_BINARY: Tree = {"type": "string", "format": "binary"}


def _config() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Zegel",
        version=zegel.__version__,
        description="The API of one node. Times are UTC; 64-bit values are strings.",
        use_handler_docstrings=True,
        operation_id_creator=lambda handler, _method, _path: handler.handler_name,
        security=[{"token": []}],
        components=Components(
            security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}
        ),
    )


def describe(routes: Sequence[HTTPRouteHandler]) -> Tree:
    """Return the description of the routes."""
    links = Provide(lambda: None, sync_to_thread=False)  # nothing is called
    app = Litestar(
        routes, dependencies={"links": links}, openapi_config=_config(), logging_config=None
    )
    return _complete(app.openapi_schema.to_schema())


def _complete(schema: Tree) -> Tree:
    """Add the one error shape, bodies that are not JSON, and closed structs."""
    tree: Tree = copy.deepcopy(schema)
    schemas = tree["components"]["schemas"]
    schemas.pop("ValidationException", None)
    # Litestar leaves the structs' own words out
    found, structs = msgspec.json.schema_components(
        [*_DOCUMENTS, list[NewMeter]], ref_template="#/components/schemas/{name}"
    )
    schemas.update(structs)
    for path in tree["paths"].values():
        for method in _METHODS:
            if method in path:
                _errors(path[method])
    body = {**found[-1], "maxItems": MAX_ROWS}
    tree["paths"]["/v1/meters"]["post"]["requestBody"] = _body("application/json", body)
    tree["paths"]["/v1/shipments"]["post"]["requestBody"] = _body(SHIPMENT_TYPE, _BINARY)
    tree["paths"]["/v1/readings"]["get"]["responses"]["200"]["content"] = _formats()
    health = tree["paths"]["/healthz"]["get"]["responses"]
    health["503"] = {**health["200"], "description": "The node is degraded; `reasons` says why"}
    for struct in schemas.values():
        struct["description"] = inspect.cleandoc(struct.get("description", ""))
    return tree


def _body(kind: str, schema: Tree) -> Tree:
    return {"required": True, "content": {kind: {"schema": schema}}}


def _errors(operation: Tree) -> None:
    """Describe every failure of an operation by the problem document."""
    responses = {
        status: answer for status, answer in operation["responses"].items() if status < "300"
    }
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    responses["default"] = {"description": "What went wrong (RFC 9457)", "content": content}
    operation["responses"] = responses


def _formats() -> Tree:
    page = {"schema": {"$ref": "#/components/schemas/Readings"}}
    text = {"schema": {"type": "string"}}
    others = {kind: text if kind.startswith("text/") else {"schema": _BINARY} for kind in FORMATS}
    return {"application/json": page, **others}
