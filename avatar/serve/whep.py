"""WHEP (draft-ietf-wish-whep): a viewer posts an SDP offer, and gets the answer."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from avatar.serve.hub import RefusedError
from avatar.serve.ice import Ice
from avatar.serve.routes import answering, hub_of
from avatar.serve.webrtc import connect, raise_bitrates

SDP = "application/sdp"


def whep_routes(ice: Ice) -> list[BaseRoute]:
    """The routes of WHEP, and of the ICE servers that clients use."""
    raise_bitrates()

    async def watch(request: Request) -> Response:
        hub = hub_of(request)
        session = hub.find(request.path_params["session"])
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != SDP:
            raise RefusedError(415, f"an offer of type {SDP} is needed")
        answer = await connect(hub, session, ice, (await request.body()).decode(errors="replace"))
        headers = {"Location": f"/v1/whep/{session.id}/viewer"}
        return Response(answer, 201, headers, media_type=SDP)

    async def leave(request: Request) -> Response:
        hub = hub_of(request)
        hub.close(hub.find(request.path_params["session"]), "its viewer left")
        return Response(status_code=204)

    async def servers(request: Request) -> Response:
        return JSONResponse(ice.for_client())

    return [
        Route("/v1/ice", answering(servers), methods=["GET"]),
        Route("/v1/whep/{session}", answering(watch), methods=["POST"]),
        Route("/v1/whep/{session}/viewer", answering(leave), methods=["DELETE"]),
    ]
