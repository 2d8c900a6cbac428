from langchain.agents import create_agent

from agent.app import clearance
from clearance import OfflineModel

graph = create_agent(OfflineModel(), middleware=[clearance.middleware()])
