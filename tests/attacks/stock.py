"""A deliberately stock LangGraph agent: what a good tutorial ends with. The attacks show on it that they can succeed.

A ReAct graph of two nodes, `interrupt()` inside the tool above a limit, effects as rows of a SQLite file, and the
authentication that the documentation shows: it tells who somebody is, and no handler asks what they may.
"""

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import jwt
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import interrupt
from langgraph_sdk import Auth

from agent.offline_model import read

#: A transfer whose memo has this word takes so long after its effect, as one that calls slow services does.
SLOW, SLOW_S = "slow", float(os.environ.get("SLOW_S", 3))
LIMIT_MINOR = 1_000_00

SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (account_id TEXT PRIMARY KEY, owner TEXT, status TEXT, balance_minor INTEGER,
                                     limit_minor INTEGER);
CREATE TABLE IF NOT EXISTS customers (customer_id TEXT PRIMARY KEY, name TEXT);
CREATE TABLE IF NOT EXISTS effects (tool TEXT, source TEXT, target TEXT, amount_minor INTEGER, memo TEXT,
                                    requested_by TEXT, approved_by TEXT);
"""


def open_file() -> sqlite3.Connection:
    """Open the agent's database, which `STOCK_FILE` names."""
    connection = sqlite3.connect(os.environ["STOCK_FILE"], timeout=30, isolation_level=None)
    connection.executescript(SCHEMA)
    return connection


def _limit(account_id: str) -> int:
    with closing(open_file()) as connection:
        row = connection.execute("SELECT limit_minor FROM accounts WHERE account_id = ?", [account_id]).fetchone()
    return row[0] if row and row[0] is not None else LIMIT_MINOR


def _owner(account_id: str) -> str:
    with closing(open_file()) as connection:
        row = connection.execute("SELECT owner FROM accounts WHERE account_id = ?", [account_id]).fetchone()
    return str(row[0]) if row else "nobody"


def _write(*effect: Any) -> None:
    with closing(open_file()) as connection:
        connection.execute("INSERT INTO effects VALUES (?, ?, ?, ?, ?, ?, ?)", effect)


def _is_yes(answer: Any) -> bool:
    return bool(answer.get("approved") if isinstance(answer, dict) else answer)


@tool
async def transfer_funds(
    amount: str, from_account: str, to_account: str, config: RunnableConfig, memo: str = ""
) -> str:
    """Transfer money from one account to another."""
    configurable = config["configurable"]
    minor = round(float(amount) * 100)
    who = configurable.get("user_id") or configurable.get("langgraph_auth_user_id")
    claimed = configurable.get("limit_minor")
    limit = int(claimed) if claimed else await asyncio.to_thread(_limit, from_account)
    approved_by = None
    if minor > limit:
        owner = await asyncio.to_thread(_owner, to_account)
        answer = interrupt(
            {
                "message": f"Transfer {amount} from {from_account} to {to_account} ({owner})? {memo}",
                "action": "transfer_funds",
                "amount": amount,
                "from_account": from_account,
                "to_account": to_account,
                "memo": memo,
            }
        )
        if not _is_yes(answer):
            return "Rejected."
        if isinstance(answer, dict):
            approved_by = answer.get("by")
            edited = answer.get("args") or {}
            minor = round(float(edited.get("amount", amount)) * 100)
            to_account = edited.get("to_account", to_account)
    await asyncio.to_thread(_write, "transfer_funds", from_account, to_account, minor, memo, who, approved_by)
    if SLOW in memo.split():
        await asyncio.sleep(SLOW_S)
    return f"Transferred {minor / 100:,.2f} from {from_account} to {to_account}."


@tool
async def delete_user(user_id: str, config: RunnableConfig, reason: str = "") -> str:
    """Delete a customer."""
    answer = interrupt({"message": f"Delete {user_id}? {reason}", "action": "delete_user", "user_id": user_id})
    if not _is_yes(answer):
        return "Rejected."
    who = config["configurable"].get("user_id")
    await asyncio.to_thread(_write, "delete_user", user_id, "", 0, reason, who, None)
    return f"Deleted {user_id}."


TOOLS = [transfer_funds, delete_user]


class Parrot(BaseChatModel):
    """Calls what a sentence asks for, as the offline model reads it; joined by "then", one call a message."""

    @property
    def _llm_type(self) -> str:
        return "stock"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=_say(messages))])


def _say(messages: Sequence[BaseMessage]) -> AIMessage:
    at = max((at for at, message in enumerate(messages) if isinstance(message, HumanMessage)), default=None)
    if at is None:
        return AIMessage("There is nothing to answer.")
    sentence = messages[at].text
    wishes = read(sentence) or []
    done = [message.text for message in messages[at:] if isinstance(message, ToolMessage)]
    is_chain = " then " in sentence
    asked = wishes[len(done) : len(done) + 1] if is_chain else wishes if not done else []
    calls = [
        tool_call(name=wish.tool, args=wish.arguments, id=f"call-{len(messages)}-{number}")
        for number, wish in enumerate(asked)
    ]
    return AIMessage("Working on it." if calls else "\n".join(done) or "I did not understand.", tool_calls=calls)


async def _model(state: MessagesState) -> dict[str, Any]:
    return {"messages": [await Parrot().ainvoke(state["messages"])]}


builder = StateGraph(MessagesState)
builder.add_node("model", _model)
builder.add_node("tools", ToolNode(TOOLS))
builder.add_edge(START, "model")
builder.add_conditional_edges("model", tools_condition)
builder.add_edge("tools", "model")
graph = builder.compile()

auth = Auth()


@auth.authenticate
async def authenticate(headers: dict[bytes, bytes]) -> dict[str, Any]:
    """Give who sends a request, as the documentation's first example does."""
    given = headers.get(b"authorization", b"").decode()
    try:
        claims = jwt.decode(
            given.removeprefix("Bearer "), os.environ["AUTH_SECRET"], algorithms=["HS256"],
            options={"verify_aud": False},
        )  # fmt: skip
    except jwt.PyJWTError as exc:
        raise Auth.exceptions.HTTPException(status_code=401, detail="Sign in.") from exc
    return {"identity": claims["sub"], "is_authenticated": True}
