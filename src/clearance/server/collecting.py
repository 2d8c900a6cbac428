"""Garbage is not looked for while a server starts, and never again in what it started with."""

import gc

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class StartUncollected:
    """ASGI middleware around a server's start: hardly anything made then is garbage.

    What is there by its end stays. To look through it again and again would take a tenth of the start, and later stop
    everything, for longer than most decisions take, each time.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" or not gc.isenabled():
            await self._app(scope, receive, send)
            return

        async def note(message: Message) -> None:
            if message["type"].startswith("lifespan.startup."):  # complete, or failed
                gc.freeze()
                gc.enable()
            await send(message)

        gc.disable()
        try:
            await self._app(scope, receive, note)
        finally:
            gc.enable()
