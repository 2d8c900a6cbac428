"""A process that has imported the libraries of others once, and becomes a server as often as it is asked to.

Most of what a server's start costs are these imports, and the tests start some hundred. Nothing of the server itself is
among them, and nothing of the sample's graph: each imports that anew, under its own environment. This file runs by
itself, outside the tests' package, in the Python of `langgraph dev` or of Aegra: what it imports, a server finds
imported.
"""

import fcntl
import functools
import gc
import importlib
import json
import os
import runpy
import select
import selectors
import socket
import subprocess
import sys
import time
from typing import Any

#: By the server's command. Each brings others with it. None starts a thread: a fork would be without it.
LIBRARIES = {
    "langgraph": (
        "aiosqlite", "alembic.command", "alembic.context", "anyio._backends._asyncio", "cel_expr_python", "click",
        "croniter", "cryptography.hazmat.primitives.asymmetric.rsa", "dotenv", "fastapi.openapi.utils",
        "fastapi.responses", "fastapi.staticfiles", "grpc.aio", "grpc_health.v1.health_pb2_grpc", "h11", "httpcore",
        "httpx", "httpx2", "jinja2", "jsonpatch", "jsonschema_rs", "jwt", "langchain_core.callbacks.manager",
        "langchain_core.language_models.chat_models", "langchain_core.load.load", "langchain_core.messages.utils",
        "langchain_core.prompts", "langchain_core.tools", "langchain_core.tracers.event_stream",
        # Of the server itself those that read no environment.
        "langgraph_api.cli", "langgraph_api.errors", "langgraph_api.js.base", "langgraph_api.schema",
        "langgraph_api.serde", "langgraph_api.sse", "langgraph_api.timing", "langgraph_api.validation",
        "langgraph_cli.cli", "langgraph.checkpoint.sqlite.aio", "langgraph.graph", "langgraph.prebuilt",
        "langgraph.pregel.remote", "langgraph_grpc_common.checkpointer", "langgraph_sdk.auth", "langgraph_sdk.client",
        "langgraph_sdk.runtime",
        "langsmith.client", "langsmith.run_trees", "opentelemetry.exporter.otlp.proto.http.metric_exporter",
        "opentelemetry.sdk.metrics", "orjson", "ormsgpack", "pathspec", "prometheus_client", "psycopg", "pydantic.v1",
        "pydantic_settings", "pygments.lexers", "requests", "rfc8785", "rich.console", "rich.progress", "rich.table",
        "sqlalchemy.dialects.postgresql", "sqlalchemy.dialects.sqlite", "sse_starlette", "starlette.middleware.cors",
        "structlog", "tenacity", "truststore", "uvicorn.lifespan.on", "uvicorn.protocols.http.httptools_impl",
        "uvicorn.protocols.websockets.websockets_sansio_impl", "uvloop", "websockets", "xxhash", "yaml",
    ),
    "aegra": (
        "alembic.command", "alembic.config", "alembic.context", "asgi_correlation_id", "asyncpg", "cel_expr_python",
        "click", "croniter", "cryptography.hazmat.primitives.asymmetric.rsa", "dotenv", "fastapi.openapi.utils",
        "fastapi.responses", "fastapi.staticfiles", "httpx", "jinja2", "jwt", "langchain_core.callbacks.manager",
        "langchain_core.language_models.chat_models", "langchain_core.load.load",
        "langchain_core.output_parsers.openai_tools", "langchain_core.prompts", "langchain_core.tools",
        "langchain_core.tracers.event_stream", "langgraph.checkpoint.postgres.aio", "langgraph.graph",
        "langgraph.prebuilt", "langgraph.store.postgres.aio", "langgraph_sdk", "langgraph_sdk.auth",
        "langgraph_sdk.client", "langgraph_sdk.runtime", "langsmith.client", "langsmith.run_trees",
        "openinference.instrumentation.langchain", "opentelemetry.exporter.otlp.proto.http.trace_exporter",
        "opentelemetry.sdk.trace.export", "prometheus_client", "prometheus_fastapi_instrumentator", "psycopg",
        "psycopg_pool", "pydantic.v1", "pydantic_settings", "redis.asyncio", "requests", "rfc8785", "rich.console",
        "rich.panel", "rich.progress", "rich.table", "sqlalchemy.dialects.postgresql", "sqlalchemy.dialects.sqlite",
        "sqlalchemy.ext.asyncio", "sse_starlette", "starlette.middleware.cors", "structlog", "tenacity",
        "uvicorn.lifespan.on", "uvicorn.main", "uvicorn.protocols.http.h11_impl",
        "uvicorn.protocols.websockets.websockets_sansio_impl", "xxhash", "yaml",
    ),
}  # fmt: skip

#: Of ours, what reads no setting before a server asks for something: importing it does nothing.
OURS = (
    "agent.actions", "agent.analysis", "agent.lookups", "agent.offline_model", "clearance.server.auth",
    "clearance.server.middleware", "clearance.server.reviewers", "clearance.server.start",
)  # fmt: skip


def serve(door: socket.socket) -> dict[str, Any] | None:
    """Do what is asked, line by line, by whoever comes through the door, until all who came have gone.

    Asked to begin one (`argv`, `cwd`, `env`, `log`), answer its `pid`; asked how a `pid` is, answer its `code`, None
    while it runs. In what was begun, give what was asked for.
    """
    place = door.getsockname()
    waiting = selectors.DefaultSelector()
    waiting.register(door, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.data is None:
                came, _ = door.accept()
                waiting.register(came, selectors.EVENT_READ, came.makefile("rwb"))
                continue
            line = key.data.readline()
            if not line:
                waiting.unregister(key.fileobj)
                key.data.close()
                key.fileobj.close()  # type: ignore[union-attr]  # a socket
                continue
            order = json.loads(line)
            if "pid" in order:
                pid, status = os.waitpid(order["pid"], os.WNOHANG)
                told = {"code": os.waitstatus_to_exitcode(status) if pid else None}
            else:
                ready, is_ready = os.pipe()
                pid = os.fork()
                if not pid:
                    os.setsid()
                    os.close(ready)
                    os.close(is_ready)  # that it leads its group is what the answer says: it can be killed as one
                    for one in list(waiting.get_map().values()):
                        for held in filter(None, (one.data, one.fileobj)):
                            held.close()
                    waiting.close()
                    return dict(order)
                os.close(is_ready)
                os.read(ready, 1)
                os.close(ready)
                told = {"pid": pid}
            key.data.write(json.dumps(told).encode() + b"\n")
            key.data.flush()
        if len(waiting.get_map()) == 1 and is_left(door, place):
            return None


def is_left(door: socket.socket, place: str) -> bool:
    """Close the door, unless somebody stands before it: who comes from now on begins another."""
    if not os.path.exists(place):
        return True  # the tests are over, and their folder is gone
    with open(f"{place}.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if select.select([door], [], [], 0)[0]:
            return False
        os.unlink(place)
        return True


def become(argv: list[str], cwd: str, env: dict[str, str], log: str) -> None:
    """Run a script of this Python as its command line would."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(out)
    sys.argv = argv
    here = os.path.dirname(__file__)
    others = [folder for folder in sys.path if folder != here]
    sys.path[:] = [os.path.dirname(argv[0]), *filter(None, env.get("PYTHONPATH", "").split(os.pathsep)), *others]
    runpy.run_path(argv[0], run_name="__main__")


def fork_modules() -> None:
    """Let `python -m …`, which `aegra serve` runs as a process of its own, be a fork, too."""
    run = subprocess.run

    def forking(command: list[str], **how: Any) -> Any:
        if command[:2] != [sys.executable, "-m"]:
            return run(command, **how)
        pid = os.fork()
        if not pid:
            sys.argv = command[2:]
            sys.path[0] = os.getcwd()
            runpy.run_module(command[2], run_name="__main__", alter_sys=True)
            sys.exit()
        return subprocess.CompletedProcess(command, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    subprocess.run = forking  # type: ignore[assignment]  # as much of it as is asked for


def work_out() -> None:
    """Work out what is alike in each: the certificates of each client of HTTP."""
    import httpx
    import httpx2
    from httpx._transports import default
    from httpx2._transports import default as of_openai

    for module in (default, of_openai):
        made: Any = module
        made.create_ssl_context = functools.cache(made.create_ssl_context)  # not public
    httpx.Client().close()
    httpx2.Client().close()


def main() -> None:
    """Import all of a server's, and serve whoever comes."""
    if os.fork():
        return  # what begins this may end before it
    name, number = sys.argv[1:]
    for module in (*LIBRARIES[name], *OURS):
        importlib.import_module(module)
    work_out()
    fork_modules()
    if len(os.listdir("/proc/self/task")) != 1:
        raise RuntimeError("one of the libraries started a thread")
    gc.collect()
    gc.freeze()
    order = serve(socket.socket(fileno=int(number)))
    if order is not None:
        become(**order)


if __name__ == "__main__":
    main()
