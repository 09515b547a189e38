"""The typed client of the HTTP API, synchronous and asynchronous. Importing it needs neither torch nor ONNX Runtime.

>>> from streamer.client import Client
>>> with Client("http://localhost:8080") as headwater:  # doctest: +SKIP
...     ranking = headwater.recommend("ada", count=10)
...     headwater.publish({"type": "interaction", "user_id": "ada", "item_id": ranking.items[0].item_id,
...                        "action": "click", "impression_id": ranking.impression_id})
"""

from exporters.answers import Accepted, ItemFacts, Models, RankedItem, Ranking, Reloaded, RolledBack, UserSession
from streamer.client.aio import AsyncClient
from streamer.client.errors import AnswerError, ClientError, Problem, Unreachable
from streamer.client.retries import Retries
from streamer.client.sync import Client

__all__ = [
    "Accepted",
    "AnswerError",
    "AsyncClient",
    "Client",
    "ClientError",
    "ItemFacts",
    "Models",
    "Problem",
    "RankedItem",
    "Ranking",
    "Reloaded",
    "Retries",
    "RolledBack",
    "Unreachable",
    "UserSession",
]
