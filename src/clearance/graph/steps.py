"""The four steps, whatever graph they stand in: receive → model ⇄ dispatch → tools → dispatch.

State and `Send` payloads point into the journal. Nothing in them is believed: a client's `command.update` writes them.
"""

from functools import partial

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command

from clearance.gate.ending import end_turn
from clearance.graph.action_tools import Assemble
from clearance.graph.identity import thread_of
from clearance.graph.state import CallState, State, turn_id_of
from clearance.graph.step_dispatch import dispatch
from clearance.graph.step_model import Speak, let_speak
from clearance.graph.step_receive import receive
from clearance.graph.step_tools import LookUp, run_call
from clearance.graph.toolbox import Toolbox


class Steps:
    """The four steps over the parts that `assemble` gives, for the actions and look-ups of one graph.

    Where a step leads is said by the names here; each way in puts its own for them. `cycle` is how many steps of the
    graph lie between the model's calls and its next word, both counted; `model_node` what the model's is called there.
    Where `is_straight`, model and tools lead to one another past dispatch when it had nothing to do between them.
    """

    def __init__(
        self,
        assemble: Assemble,
        toolbox: Toolbox,
        *,
        cycle: int,
        model_node: str = "model",
        is_straight: bool = False,
    ) -> None:
        self.model_node = model_node
        self._assemble = assemble
        self._toolbox = toolbox
        self._cycle = cycle
        self._is_straight = is_straight

    async def receive(self, state: State, config: RunnableConfig) -> Command[str]:
        """Open the turn, withdraw what was left open, and put the transcript right."""
        return await receive(await self._assemble(), state, config)

    async def model(self, state: State, config: RunnableConfig, speak: Speak) -> Command[str]:
        """Let the model speak and store what it said before anything follows; run again, give what is stored."""
        parts = await self._assemble()
        return await let_speak(
            parts, self._toolbox, state, config, speak, cycle=self._cycle, is_straight=self._is_straight
        )

    async def dispatch(self, state: State, config: RunnableConfig) -> Command[str]:
        """Send what comes next of the stored message; open the requests for its actions where none are yet."""
        return await dispatch(await self._assemble(), self._toolbox, state, config)

    async def tools(self, state: CallState, config: RunnableConfig, look_up: LookUp | None = None) -> Command[str]:
        """Run one call of the journal; a look-up by `look_up`, where the graph around has a way of its own."""
        parts = await self._assemble()
        return await run_call(parts, self._toolbox, state, config, look_up, is_straight=self._is_straight)

    async def end(self, state: State, config: RunnableConfig) -> None:
        """End the turn that something else than the model's words has answered, where nothing of it is open."""
        gate = (await self._assemble()).gate
        await gate.write(partial(end_turn, thread_id=thread_of(config), turn_id=turn_id_of(state)))
