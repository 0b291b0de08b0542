#!/usr/bin/env python3
"""Talks to a served checkpoint with OpenAI's Python client, as programs written for it do.

    pip install openai
    smollm3 serve CHECKPOINT --name NAME &
    scripts/verify/openai_client.py [http://127.0.0.1:8000/v1]

Any checkpoint with a chat template does. Whole answers are compared with the pieces of streams, every message that came back is
sent again in each form that the client can write it in, and what is not supported must be a 400 with the field's name.
Exits with 1 if anything is otherwise.
"""
import itertools
import sys

import openai

TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "The sum of two numbers",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": None}},
            "required": ["a"],
        },
        "strict": None,
    },
}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "auto"}}
ASK = [{"role": "user", "content": "What is 27 + 15?"}]

address = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000/v1"
client = openai.OpenAI(base_url=address, api_key="none", max_retries=0, timeout=120)
model = client.models.list().data[0].id
faults = []


def check(holds, what):
    if not holds:
        faults.append(what)
        print(f"wrong: {what}")


def chat(messages=ASK, **options):
    options = {"model": model, "temperature": 0, "max_tokens": 24, **options}
    return client.chat.completions.create(messages=messages, **options)


def complete(prompt, **options):
    options = {"model": model, "temperature": 0, "max_tokens": 12, **options}
    return client.completions.create(prompt=prompt, **options)


def works(what, call):
    """What `call` gives, or nothing if the server or the client refuses it."""
    try:
        return call()
    except openai.APIStatusError as error:
        check(False, f"{what}: {error}")
    except openai.OpenAIError as error:
        check(False, f"{what}: {error!r}")


def refused(param, call, status=400):
    """The server must refuse `call` because of `param`, in OpenAI's form."""
    try:
        call()
    except openai.APIStatusError as error:
        body = error.body if isinstance(error.body, dict) else {}
        told = (error.status_code, body.get("param"), body.get("type"))
        right = told == (status, param, "invalid_request_error") and "code" in body
        named = param is None or param in str(body.get("message"))
        check(right and named, f"refusing {param}: {told}, {body}")
    else:
        check(False, f"{param} is ignored")


def told_in_pieces(messages, **options):
    """The message and the end of each choice, put together from a stream as its clients do."""
    options = {"stream": True, "stream_options": {"include_usage": True}, **options}
    choices, usage, chunks = {}, None, list(chat(messages, **options))
    for chunk in chunks:
        check(chunk.object == "chat.completion.chunk" and chunk.id == chunks[0].id, "names of chunks")
        if chunk.usage:
            check(not chunk.choices and chunk is chunks[-1], "usage comes last and alone")
            usage = chunk.usage
        for choice in chunk.choices:
            first = choice.index not in choices
            mine = choices.setdefault(choice.index, {"content": None, "reasoning_content": None, "calls": {}, "end": None})
            delta = choice.delta
            check((delta.role == "assistant") == first, "the role comes first, once")
            check(mine["end"] is None, "nothing comes after the end")
            for key in ("content", "reasoning_content"):
                if getattr(delta, key, None) is not None:
                    mine[key] = (mine[key] or "") + getattr(delta, key)
            for call in delta.tool_calls or []:
                known = mine["calls"].setdefault(call.index, [call.id, "", ""])
                known[1] += call.function.name or ""
                known[2] += call.function.arguments or ""
            mine["end"] = choice.finish_reason
    return choices, usage


def same_in_pieces(messages, **options):
    whole = works("a conversation", lambda: chat(messages, **options))
    if whole is None:
        return None
    choices, usage = told_in_pieces(messages, **options)
    check(usage == whole.usage, f"usage of a stream: {usage}, {whole.usage}")
    check(usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, "usage adds up")
    for choice in whole.choices:
        mine = choices[choice.index]
        for key in ("content", "reasoning_content"):
            told = getattr(choice.message, key, None)
            check(told == mine[key], f"{key} in pieces: {mine[key]!r}, whole: {told!r}")
        calls = [[call.function.name, call.function.arguments] for call in choice.message.tool_calls or []]
        check(calls == [call[1:] for call in mine["calls"].values()], f"calls: {calls}, {mine['calls']}")
        check(choice.finish_reason == mine["end"], f"end: {choice.finish_reason}, {mine['end']}")
    return whole


def forms(message):
    """A message of an answer in each form in which clients send it back."""
    yield message
    yield message.model_dump()
    yield message.model_dump(exclude_none=True)
    yield message.model_dump(exclude_unset=True)
    full = message.model_dump()
    yield {"refusal": None, "audio": None, "annotations": [], "function_call": None, "name": None, "tool_calls": None, **full}
    yield {**full, "tool_calls": full.get("tool_calls") or []}
    if full.get("content"):
        yield {**full, "content": [{"type": "text", "text": full["content"]}]}


def conversations():
    for tools, most in itertools.product(([], [TOOL]), (2, 3, 24)):
        answer = same_in_pieces(ASK, tools=tools, max_tokens=most)
        if answer is None:
            continue
        said = answer.choices[0].message
        calls = said.tool_calls or []
        results = [{"role": "tool", "tool_call_id": call.id, "name": call.function.name, "content": "42"} for call in calls]
        lengths = set()
        for form in forms(said):
            turns = ASK + [form] + results + ([] if calls else [{"role": "user", "content": "And 1 + 1?"}])
            answer = works("its own message", lambda: chat(turns, tools=tools))
            lengths.add(answer and answer.usage.prompt_tokens)
        check(len(lengths) == 1, f"one message, prompts of {lengths} tokens")
    turns = list(ASK)
    for turn in range(4):
        answer = same_in_pieces(turns, n=2, seed=turn, temperature=0.7)
        if answer is None:
            break
        turns += [answer.choices[turn % 2].message, {"role": "user", "content": f"Go on, {turn}."}]
        turns = [turn if isinstance(turn, dict) else turn.model_dump() for turn in turns]
    for message in (
        {"role": "developer", "content": "Be brief."},
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}], "name": None},
    ):
        works(message["role"], lambda: chat([message] + ASK))
    works("parts", lambda: chat([{"role": "user", "content": [{"type": "text", "text": "27"}, {"type": "text", "text": "+15"}]}]))
    works("a tool's parts", lambda: chat(ASK + [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "add", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "42"}]},
    ]))


def stops():
    text = chat().choices[0].message.content or ""
    for stop in ([text[2:5], text[1:3]] if len(text) > 4 else ["a"], text[:1] or "a", None, []):
        answer = same_in_pieces(ASK, stop=stop)
        told = answer and answer.choices[0].message.content or ""
        for one in [stop] if isinstance(stop, str) else stop or []:
            check(one not in told, f"{one!r} in {told!r}")
    with client.chat.completions.create(model=model, messages=ASK, stream=True) as stream:
        next(iter(stream))
    works("after a client that hung up", chat)


def nothing_asked():
    """Values by which clients say that they ask for nothing."""
    nulls = ["tools", "tool_choice", "response_format", "logprobs", "top_logprobs", "n", "seed", "stop", "user", "stream"]
    nulls += ["parallel_tool_calls", "max_completion_tokens", "max_tokens", "stream_options", "frequency_penalty", "top_p"]
    nulls += ["presence_penalty", "logit_bias", "temperature", "metadata", "store", "service_tier", "functions", "modalities"]
    nulls += ["function_call", "reasoning_effort", "prediction", "audio", "verbosity", "web_search_options"]
    works("nulls", lambda: chat(extra_body={**{name: None for name in nulls}, "max_tokens": 2}))
    for options in (
        {"tools": []}, {"tools": [TOOL], "tool_choice": "auto"}, {"tools": [TOOL], "tool_choice": "none"},
        {"tool_choice": "none"}, {"response_format": {"type": "text"}}, {"logprobs": False}, {"n": 1}, {"seed": 3},
        {"user": "me"}, {"parallel_tool_calls": True}, {"max_tokens": None, "max_completion_tokens": 2},
        {"stream_options": None}, {"logit_bias": {}}, {"frequency_penalty": 0}, {"presence_penalty": 0.0}, {"top_p": 1},
        {"modalities": ["text"]}, {"metadata": {"a": "b"}}, {"store": False}, {"extra_headers": {"X-A": "b"}},
        {"functions": []}, {"function_call": "none"}, {"verbosity": "medium"},
        {"stream": True, "stream_options": {"include_usage": False, "include_obfuscation": False}},
    ):
        works(options, lambda: chat(**{"max_tokens": 2, **options}))


def refusals():
    named = {"type": "function", "function": {"name": "add"}}
    for param, options in (
        ("tool_choice", {"tools": [TOOL], "tool_choice": "required"}), ("tool_choice", {"tools": [TOOL], "tool_choice": named}),
        ("response_format", {"response_format": {"type": "json_object"}}), ("logprobs", {"logprobs": True}),
        ("response_format", {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}}),
        ("top_logprobs", {"top_logprobs": 2}), ("logit_bias", {"logit_bias": {"5": 1}}), ("n", {"n": 0}),
        ("frequency_penalty", {"frequency_penalty": 1}), ("reasoning_effort", {"reasoning_effort": "high"}),
        ("modalities", {"modalities": ["text", "audio"]}), ("temperature", {"temperature": 3}), ("seed", {"seed": 1.5}),
        ("max_completion_tokens", {"max_completion_tokens": 3}), ("best_of", {"extra_body": {"best_of": 2}}),
        ("stream_options", {"stream_options": {"include_usage": True}}), ("functions", {"functions": [TOOL["function"]]}),
        ("parallel_tool_calls", {"tools": [TOOL], "parallel_tool_calls": False}), ("verbosity", {"verbosity": "low"}),
        ("tools", {"tools": [{"type": "web_search"}]}), ("prediction", {"prediction": {"type": "content", "content": "a"}}),
    ):
        refused(param, lambda: chat(**options))
    for message in (
        {"role": "user", "content": [IMAGE]}, {"role": "assistant", "content": "a", "audio": {"id": "audio_1"}}, {"role": "user", "content": None}, {"role": "bird", "content": "Tweet."},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "add", "arguments": "{"}}]},
        {"role": "tool", "content": None, "tool_call_id": "1"},
    ):
        refused("messages", lambda: chat(ASK + [message]))
    refused("model", lambda: chat(model="gpt-4o"), 404)
    refused("model", lambda: complete("a", model="gpt-4o"), 404)
    refused(None, lambda: client.embeddings.create(model=model, input="a"), 404)
    refused(None, lambda: client.responses.create(model=model, input="a"), 404)
    refused(None, lambda: client.moderations.create(input="a"), 404)
    check(works("the model by name", lambda: client.models.retrieve(model)), "GET /v1/models/NAME")
    refused("model", lambda: client.models.retrieve("gpt-4o"), 404)


def completions():
    for prompt in ("1 + 1 = ", ["1 + 1 = ", "The"], [5, 6, 7], [[5, 6], [7]]):
        for options in ({}, {"echo": True}, {"n": 2, "seed": 1, "temperature": 0.9}, {"logprobs": 2}, {"stop": ["e", " "]},
                        {"echo": True, "logprobs": 0}, {"echo": True, "max_tokens": 0, "logprobs": 1}):
            whole = works((prompt, options), lambda: complete(prompt, **options))
            if whole is None:
                continue
            texts, ends, tokens = {}, {}, {}
            for chunk in complete(prompt, stream=True, stream_options={"include_usage": True}, **options):
                if chunk.usage:
                    check(chunk.usage == whole.usage, "usage of streamed completions")
                for choice in chunk.choices:
                    texts[choice.index] = texts.get(choice.index, "") + choice.text
                    ends[choice.index] = choice.finish_reason
                    if choice.logprobs:
                        tokens.setdefault(choice.index, []).extend(choice.logprobs.tokens)
            for choice in whole.choices:
                check(texts[choice.index] == choice.text, f"{texts[choice.index]!r}, {choice.text!r}")
                check(ends[choice.index] == choice.finish_reason, "the end of a streamed completion")
                if choice.logprobs:
                    check(tokens[choice.index] == choice.logprobs.tokens, "tokens of a streamed completion")
    # Nulls that the client leaves out, as others write them.
    nulls = ["best_of", "echo", "logprobs", "suffix", "n", "seed", "stop", "stream", "stream_options", "user", "logit_bias"]
    works("nulls", lambda: complete("a", extra_body={name: None for name in nulls}))


for part in (conversations, stops, nothing_asked, refusals, completions):
    part()
print(f"{len(faults)} faults")
sys.exit(bool(faults))
