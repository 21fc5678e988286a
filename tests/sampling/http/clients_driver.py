"""Asks a server by the `openai` package and by LangChain, in their own environment; prints what came as JSON.

python clients_driver.py URL MODEL
"""
# pyright: reportMissingImports=false

from __future__ import annotations

import json
import sys

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import BadRequestError, OpenAI
from pydantic import BaseModel, Field

url, model = sys.argv[1:]
client = OpenAI(base_url=url, api_key="none")
hello = [{"role": "user", "content": "Say hello."}]
results: dict = {"models": [m.id for m in client.models.list()]}


class Person(BaseModel):
    name: str = Field(max_length=6)
    age: int = Field(ge=0, le=99)


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return "Sunny"


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"enum": ["Ulm"]}}, "required": ["city"]},
    },
}

# --- openai ---
pieces, usage = [], None
for chunk in client.chat.completions.create(
    model=model, messages=hello, max_completion_tokens=12, temperature=0, stream=True,
    stream_options={"include_usage": True},
):  # fmt: skip
    pieces += [c.delta.content or "" for c in chunk.choices]
    usage = chunk.usage or usage
whole = client.chat.completions.create(
    model=model, messages=hello, max_completion_tokens=12, temperature=0, logprobs=True, top_logprobs=2
)
results["stream"] = ["".join(pieces), whole.choices[0].message.content, usage.completion_tokens]
results["logprobs"] = len(whole.choices[0].logprobs.content)
several = client.chat.completions.create(model=model, messages=hello, n=3, max_tokens=8, stop=["hello"])
results["n"] = [c.finish_reason for c in several.choices]
parsed = client.chat.completions.parse(model=model, messages=hello, response_format=Person, max_tokens=60)
results["parsed"] = parsed.choices[0].message.parsed.model_dump()
called = client.chat.completions.create(
    model=model, messages=hello, tools=[WEATHER], tool_choice="required", max_tokens=40
)
results["tool"] = called.choices[0].message.tool_calls[0].function.name
try:
    client.chat.completions.create(model=model, messages=hello, top_p=3)
except BadRequestError as error:
    results["refused"] = error.param

# --- LangChain ---
chat = ChatOpenAI(base_url=url, api_key="none", model=model, temperature=0, max_tokens=12, stream_usage=True)
last = None
for chunk in chat.stream("Say hello."):
    last = chunk if last is None else last + chunk
results["langchain"] = [last.content, last.usage_metadata["output_tokens"]]
longer = ChatOpenAI(base_url=url, api_key="none", model=model, max_tokens=60, seed=1)
for method in ("json_schema", "function_calling"):
    person = longer.with_structured_output(Person, method=method).invoke("Who?")
    results[method] = type(person).__name__
bound = longer.bind_tools([weather], tool_choice="weather")
call = bound.invoke("Weather in Ulm?")
results["bound"] = call.tool_calls[0]["name"]
after = longer.bind_tools([weather]).invoke(
    [HumanMessage("Weather in Ulm?"), call, ToolMessage("Sunny", tool_call_id=call.tool_calls[0]["id"])]
)
results["after"] = after.type
print(json.dumps(results))
