"""The six fronts, each through its own official SDK: one question in, one answer out.

A `Question` says what is asked, an `Answer` what came back, both in words that belong to no
dialect, so that one test can speak to all fronts. Nothing here talks HTTP: what an SDK refuses
to read is an exception of that SDK.
"""

import base64
import dataclasses
import json
import re

import anthropic
import boto3
import botocore.config
import botocore.exceptions
import cohere
from cohere.core import ApiError
import openai
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types
from openai.lib.streaming.chat import ChatCompletionStreamState

FRONTS = ("chat", "responses", "anthropic", "gemini", "cohere", "bedrock")


@dataclasses.dataclass
class Call:
    """A call of a tool, with its arguments parsed."""

    id: str
    name: str
    arguments: object

    def plain(self) -> tuple:
        return (self.name, self.arguments)


@dataclasses.dataclass
class Tool:
    name: str
    about: str
    schema: dict


@dataclasses.dataclass
class Question:
    """What is asked. `turns` has pairs: ("user", text), ("assistant", text), ("calls", calls),
    ("results", [(call, text)])."""

    model: str
    turns: list = dataclasses.field(default_factory=lambda: [("user", "Say something.")])
    system: str | None = None
    tools: list = dataclasses.field(default_factory=list)
    forced: str | None = None  # the name of the tool that must be called
    image: bytes | None = None  # a PNG, beside the last user turn
    schema: dict | None = None  # of the answer
    effort: str | None = None  # low, medium, high: think
    max_tokens: int = 4096
    stop: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Answer:
    """What came back. `stop` is one of end, sequence, tool, length, filtered, or None while the
    answer has not ended; `usage` is (prompt, answer, cached) with cached inside prompt."""

    text: str = ""
    thinking: str = ""
    calls: list = dataclasses.field(default_factory=list)
    stop: str | None = None
    usage: tuple | None = None
    native_stop: object = None
    headers: dict = dataclasses.field(default_factory=dict)

    @property
    def plain_calls(self) -> list:
        return [call.plain() for call in self.calls]


def parsed(arguments: str):
    """Arguments as JSON; text that is none stays text."""
    try:
        return json.loads(arguments) if arguments else {}
    except ValueError:
        return arguments


def cases(question: Question, user, assistant, calls, results):
    """The turns, each made by the function for its kind."""
    make = {"user": user, "assistant": assistant, "calls": calls, "results": results}
    last = len(question.turns) - 1
    for index, (kind, said) in enumerate(question.turns):
        image = question.image if index == last else None
        made = make[kind](said, image) if kind == "user" else make[kind](said)
        yield from made if isinstance(made, list) else [made]


class Chat:
    """`openai`, Chat Completions."""

    name = "chat"
    errors = (openai.OpenAIError,)
    bad_key, not_found, bad_request = openai.AuthenticationError, openai.NotFoundError, openai.BadRequestError
    rate_limit, server = openai.RateLimitError, openai.InternalServerError

    def __init__(self, gateway, key, timeout=60):
        self.sdk = openai.OpenAI(base_url=f"http://{gateway}/v1", api_key=key, max_retries=0, timeout=timeout)

    def request(self, question: Question) -> dict:
        def user(text, image):
            if not image:
                return {"role": "user", "content": text}
            url = "data:image/png;base64," + base64.b64encode(image).decode()
            return {
                "role": "user",
                "content": [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}],
            }

        def call(one):
            function = {"name": one.name, "arguments": json.dumps(one.arguments)}
            return {"id": one.id, "type": "function", "function": function}

        messages = [{"role": "system", "content": question.system}] if question.system else []
        messages += cases(
            question,
            user,
            lambda text: {"role": "assistant", "content": text},
            lambda calls: {"role": "assistant", "content": None, "tool_calls": [call(one) for one in calls]},
            lambda results: [
                {"role": "tool", "tool_call_id": one.id, "content": text} for one, text in results
            ],
        )
        out = {"model": question.model, "messages": messages, "max_completion_tokens": question.max_tokens}
        if question.tools:
            out["tools"] = [
                {"type": "function", "function": {"name": t.name, "description": t.about, "parameters": t.schema}}
                for t in question.tools
            ]
        if question.forced:
            out["tool_choice"] = {"type": "function", "function": {"name": question.forced}}
        if question.schema:
            schema = {"name": "answer", "schema": question.schema, "strict": True}
            out["response_format"] = {"type": "json_schema", "json_schema": schema}
        if question.effort:
            out["reasoning_effort"] = question.effort
        if question.stop:
            out["stop"] = question.stop
        return out

    def plain(self, question: Question) -> Answer:
        raw = self.sdk.chat.completions.with_raw_response.create(**self.request(question))
        return self._answer(raw.parse(), dict(raw.headers))

    def stream(self, question: Question) -> Answer:
        """Gathers the chunks as the SDK's own helper does, which checks their indices."""
        state = ChatCompletionStreamState()
        usage, thinking = None, ""
        stream = self.sdk.chat.completions.create(
            **self.request(question), stream=True, stream_options={"include_usage": True}
        )
        has_finish = False
        for chunk in stream:
            for _ in state.handle_chunk(chunk):
                pass
            usage = chunk.usage or usage
            for choice in chunk.choices:
                thinking += getattr(choice.delta, "reasoning_content", None) or ""
                has_finish |= choice.finish_reason is not None
        if not has_finish:
            return Answer(text=state.current_completion_snapshot.choices[0].message.content or "")
        answer = self._answer(state.current_completion_snapshot, dict(stream.response.headers))
        answer.thinking = thinking
        assert (usage is None) == (answer.usage is None)
        return answer

    @staticmethod
    def _custom(call) -> Call:
        custom = dict(call.custom)  # the helper for streams leaves what is inside as it came
        return Call(call.id, custom["name"], custom["input"])

    def _answer(self, whole, headers) -> Answer:
        assert whole.object == "chat.completion" and len(whole.choices) == 1
        choice = whole.choices[0]
        message = choice.message
        assert message.role == "assistant"
        calls = [
            self._custom(c)
            if c.type == "custom"
            else Call(c.id, c.function.name, parsed(c.function.arguments))
            for c in message.tool_calls or []
        ]
        assert all(call.id for call in calls)
        usage = None
        if whole.usage:
            details = whole.usage.prompt_tokens_details
            cached = details.cached_tokens if details else 0
            usage = (whole.usage.prompt_tokens, whole.usage.completion_tokens, cached or 0)
            assert whole.usage.total_tokens == usage[0] + usage[1]
        stops = {"stop": "end", "tool_calls": "tool", "length": "length", "content_filter": "filtered"}
        thinking = getattr(message, "reasoning_content", None) or ""
        text = (message.content or "") + (message.refusal or "")
        stop = stops[choice.finish_reason]
        return Answer(text, thinking, calls, stop, usage, choice.finish_reason, headers)


class Responses:
    """`openai`, Responses."""

    name = "responses"
    errors = (openai.OpenAIError,)
    bad_key, not_found, bad_request = Chat.bad_key, Chat.not_found, Chat.bad_request
    rate_limit, server = Chat.rate_limit, Chat.server

    def __init__(self, gateway, key, timeout=60):
        self.sdk = openai.OpenAI(base_url=f"http://{gateway}/v1", api_key=key, max_retries=0, timeout=timeout)

    def request(self, question: Question) -> dict:
        def user(text, image):
            if not image:
                return {"role": "user", "content": text}
            url = "data:image/png;base64," + base64.b64encode(image).decode()
            content = [{"type": "input_text", "text": text}, {"type": "input_image", "image_url": url}]
            return {"role": "user", "content": content}

        def call(one):
            return {
                "type": "function_call",
                "call_id": one.id,
                "name": one.name,
                "arguments": json.dumps(one.arguments),
            }

        items = cases(
            question,
            user,
            lambda text: {"role": "assistant", "content": text},
            lambda calls: [call(one) for one in calls],
            lambda results: [
                {"type": "function_call_output", "call_id": one.id, "output": text} for one, text in results
            ],
        )
        out = {"model": question.model, "input": list(items), "max_output_tokens": question.max_tokens}
        out["store"] = False
        if question.system:
            out["instructions"] = question.system
        if question.tools:
            out["tools"] = [
                {"type": "function", "name": t.name, "description": t.about, "parameters": t.schema, "strict": False}
                for t in question.tools
            ]
        if question.forced:
            out["tool_choice"] = {"type": "function", "name": question.forced}
        if question.schema:
            form = {"type": "json_schema", "name": "answer", "schema": question.schema, "strict": True}
            out["text"] = {"format": form}
        if question.effort:
            out["reasoning"] = {"effort": question.effort, "summary": "auto"}
        if question.stop:
            raise Unsayable("Responses has no stop sequences")
        return out

    def plain(self, question: Question) -> Answer:
        raw = self.sdk.responses.with_raw_response.create(**self.request(question))
        return self._answer(raw.parse(), dict(raw.headers))

    def stream(self, question: Question) -> Answer:
        """Through the SDK's helper, which checks items, indices and ids."""
        final, text, arguments = None, "", {}
        with self.sdk.responses.stream(**self.request(question)) as stream:
            headers = dict(stream._response.headers)
            for number, event in enumerate(stream):
                assert event.sequence_number == number, event
                if event.type in ("response.output_text.delta", "response.refusal.delta"):
                    text += event.delta
                elif event.type == "response.function_call_arguments.delta":
                    arguments[event.output_index] = arguments.get(event.output_index, "") + event.delta
                elif event.type in ("response.completed", "response.incomplete"):
                    final = event.response
                elif event.type == "response.failed":
                    error = event.response.error
                    raise openai.APIError(f"{error.code}: {error.message}", stream._response.request, body=None)
        if final is None:
            return Answer(text=text)
        answer = self._answer(final, headers)
        assert answer.text == text, (answer.text, text)
        for index, pieces in arguments.items():
            item = final.output[index]
            assert item.arguments == pieces, (item, pieces)
        return answer

    def _answer(self, whole, headers) -> Answer:
        assert whole.object == "response"
        out = Answer(headers=headers)
        if whole.status == "failed":
            raise openai.OpenAIError(f"failed: {whole.error}")
        for item in whole.output:
            if item.type == "message":
                assert item.role == "assistant"
                for part in item.content:
                    out.text += part.text if part.type == "output_text" else part.refusal
            elif item.type == "reasoning":
                out.thinking += "".join(part.text for part in item.summary)
                out.thinking += "".join(part.text for part in item.content or [])
            elif item.type == "custom_tool_call":
                out.calls.append(Call(item.call_id, item.name, item.input))
            elif item.type == "function_call":
                assert item.call_id
                out.calls.append(Call(item.call_id, item.name, parsed(item.arguments)))
        if whole.usage:
            usage = whole.usage
            out.usage = (usage.input_tokens, usage.output_tokens, usage.input_tokens_details.cached_tokens)
            assert usage.total_tokens == usage.input_tokens + usage.output_tokens
        if whole.status == "completed":
            out.stop = "tool" if out.calls else "end"
        else:
            assert whole.status == "incomplete", whole.status
            reasons = {"max_output_tokens": "length", "content_filter": "filtered"}
            out.stop = reasons[whole.incomplete_details.reason]
        out.native_stop = whole.status
        return out


class Anthropic:
    """`anthropic`, Messages."""

    name = "anthropic"
    errors = (anthropic.AnthropicError,)
    bad_key, not_found = anthropic.AuthenticationError, anthropic.NotFoundError
    bad_request, rate_limit = anthropic.BadRequestError, anthropic.RateLimitError
    server = anthropic.InternalServerError

    def __init__(self, gateway, key, timeout=60):
        self.sdk = anthropic.Anthropic(
            base_url=f"http://{gateway}", api_key=key, auth_token=None, max_retries=0, timeout=timeout
        )

    def request(self, question: Question) -> dict:
        def user(text, image):
            if not image:
                return {"role": "user", "content": text}
            source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(image).decode()}
            content = [{"type": "image", "source": source}, {"type": "text", "text": text}]
            return {"role": "user", "content": content}

        def call(one):
            return {"type": "tool_use", "id": one.id, "name": one.name, "input": one.arguments}

        def result(one, text):
            return {"type": "tool_result", "tool_use_id": one.id, "content": text}

        messages = cases(
            question,
            user,
            lambda text: {"role": "assistant", "content": text},
            lambda calls: {"role": "assistant", "content": [call(one) for one in calls]},
            lambda results: {"role": "user", "content": [result(one, text) for one, text in results]},
        )
        out = {"model": question.model, "messages": list(messages), "max_tokens": question.max_tokens}
        if question.system:
            out["system"] = question.system
        if question.tools:
            out["tools"] = [
                {"name": t.name, "description": t.about, "input_schema": t.schema} for t in question.tools
            ]
        if question.forced:
            out["tool_choice"] = {"type": "tool", "name": question.forced}
        if question.schema:
            out["output_config"] = {"format": {"type": "json_schema", "schema": question.schema}}
        if question.effort:
            out["thinking"] = {"type": "enabled", "budget_tokens": 2048}
        if question.stop:
            out["stop_sequences"] = question.stop
        return out

    def plain(self, question: Question) -> Answer:
        raw = self.sdk.messages.with_raw_response.create(**self.request(question))
        return self._answer(raw.parse(), dict(raw.headers))

    def stream(self, question: Question) -> Answer:
        """Through the SDK's helper, which gathers blocks by index."""
        open_block, has_stop = None, False
        with self.sdk.messages.stream(**self.request(question)) as stream:
            for event in stream:
                if event.type == "content_block_start":
                    assert open_block is None, event
                    open_block = event.index
                elif event.type == "content_block_delta":
                    assert open_block == event.index, event
                elif event.type == "content_block_stop":
                    assert open_block == event.index, event
                    open_block = None
                has_stop |= event.type == "message_stop"
            message = stream.current_message_snapshot
            headers = dict(stream.response.headers)
        if not has_stop:
            return Answer(text="".join(block.text for block in message.content if block.type == "text"))
        assert open_block is None
        return self._answer(message, headers)

    def _answer(self, whole, headers) -> Answer:
        assert whole.type == "message" and whole.role == "assistant"
        out = Answer(headers=headers, native_stop=whole.stop_reason)
        for block in whole.content:
            if block.type == "text":
                out.text += block.text
            elif block.type == "thinking":
                out.thinking += block.thinking
            elif block.type == "tool_use":
                assert block.id
                out.calls.append(Call(block.id, block.name, block.input))
        usage = whole.usage
        read, write = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
        out.usage = (usage.input_tokens + read + write, usage.output_tokens, read)
        stops = {"end_turn": "end", "stop_sequence": "sequence", "tool_use": "tool", "max_tokens": "length"}
        stops |= {"refusal": "filtered", "pause_turn": "pause", "model_context_window_exceeded": "length"}
        out.stop = stops[whole.stop_reason]
        return out


class Gemini:
    """`google-genai`, generateContent."""

    name = "gemini"
    errors = (genai_errors.APIError, genai_errors.UnknownApiResponseError)
    bad_key = not_found = bad_request = rate_limit = genai_errors.ClientError
    server = genai_errors.ServerError

    def __init__(self, gateway, key, timeout=60):
        options = genai_types.HttpOptions(base_url=f"http://{gateway}", timeout=timeout * 1000)
        self.sdk = genai.Client(api_key=key, vertexai=False, http_options=options)

    def request(self, question: Question) -> dict:
        part = genai_types.Part

        def content(role, *parts):
            return genai_types.Content(role=role, parts=list(parts))

        def user(text, image):
            parts = [part(text=text)]
            if image:
                parts.append(part.from_bytes(data=image, mime_type="image/png"))
            return content("user", *parts)

        def call(one):
            return part(function_call=genai_types.FunctionCall(id=one.id, name=one.name, args=one.arguments))

        def result(one, text):
            response = genai_types.FunctionResponse(id=one.id, name=one.name, response={"output": text})
            return part(function_response=response)

        contents = cases(
            question,
            user,
            lambda text: content("model", part(text=text)),
            lambda calls: content("model", *(call(one) for one in calls)),
            lambda results: content("user", *(result(one, text) for one, text in results)),
        )
        config = {"max_output_tokens": question.max_tokens}
        if question.system:
            config["system_instruction"] = question.system
        if question.tools:
            config["tools"] = [
                genai_types.Tool(
                    function_declarations=[
                        genai_types.FunctionDeclaration(
                            name=t.name, description=t.about, parameters_json_schema=t.schema
                        )
                        for t in question.tools
                    ]
                )
            ]
        if question.forced:
            calling = {"mode": "ANY", "allowed_function_names": [question.forced]}
            config["tool_config"] = {"function_calling_config": calling}
        if question.schema:
            config |= {"response_mime_type": "application/json", "response_json_schema": question.schema}
        if question.effort:
            config["thinking_config"] = {"include_thoughts": True, "thinking_level": question.effort}
        if question.stop:
            config["stop_sequences"] = question.stop
        return {"model": question.model, "contents": list(contents), "config": config}

    def plain(self, question: Question) -> Answer:
        return self._answer([self.sdk.models.generate_content(**self.request(question))])

    def stream(self, question: Question) -> Answer:
        return self._answer(list(self.sdk.models.generate_content_stream(**self.request(question))))

    def _answer(self, chunks) -> Answer:
        out = Answer()
        for chunk in chunks:
            http = chunk.sdk_http_response
            out.headers = dict(http.headers or {}) if http else out.headers
            if chunk.usage_metadata and chunk.usage_metadata.total_token_count is not None:
                usage = chunk.usage_metadata
                prompt = usage.prompt_token_count or 0
                answer = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
                assert usage.total_token_count == prompt + answer, usage
                out.usage = (prompt, answer, usage.cached_content_token_count or 0)
            feedback = chunk.prompt_feedback
            if feedback and feedback.block_reason:
                out.native_stop = feedback.block_reason
            for candidate in chunk.candidates or []:
                for one in (candidate.content and candidate.content.parts) or []:
                    if one.function_call:
                        call = one.function_call
                        out.calls.append(Call(call.id, call.name, call.args or {}))
                    elif one.thought:
                        out.thinking += one.text or ""
                    else:
                        out.text += one.text or ""
                if candidate.finish_reason:
                    assert out.native_stop is None, "two finish reasons"
                    out.native_stop = candidate.finish_reason
        if out.native_stop is not None:
            name = str(out.native_stop.value)
            stops = {"STOP": "tool" if out.calls else "end", "MAX_TOKENS": "length"}
            out.stop = stops.get(name, "filtered")
        return out


class Cohere:
    """`cohere`, Chat of version 2."""

    name = "cohere"
    errors = (ApiError,)
    bad_key, not_found, bad_request = cohere.UnauthorizedError, cohere.NotFoundError, cohere.BadRequestError
    rate_limit, server = cohere.TooManyRequestsError, ApiError

    def __init__(self, gateway, key, timeout=60):
        self.sdk = cohere.ClientV2(api_key=key, base_url=f"http://{gateway}", timeout=timeout)

    def request(self, question: Question) -> dict:
        def user(text, image):
            if not image:
                return {"role": "user", "content": text}
            url = "data:image/png;base64," + base64.b64encode(image).decode()
            content = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
            return {"role": "user", "content": content}

        def call(one):
            function = {"name": one.name, "arguments": json.dumps(one.arguments)}
            return {"id": one.id, "type": "function", "function": function}

        messages = [{"role": "system", "content": question.system}] if question.system else []
        messages += cases(
            question,
            user,
            lambda text: {"role": "assistant", "content": text},
            lambda calls: {"role": "assistant", "tool_calls": [call(one) for one in calls]},
            lambda results: [
                {"role": "tool", "tool_call_id": one.id, "content": text} for one, text in results
            ],
        )
        out = {"model": question.model, "messages": messages, "max_tokens": question.max_tokens}
        out["request_options"] = {"max_retries": 0}
        if question.tools:
            out["tools"] = [
                {"type": "function", "function": {"name": t.name, "description": t.about, "parameters": t.schema}}
                for t in question.tools
            ]
        if question.forced:
            if len(question.tools) > 1:
                raise Unsayable("Cohere cannot force one tool of several")
            out["tool_choice"] = "REQUIRED"
        if question.schema:
            out["response_format"] = {"type": "json_object", "json_schema": question.schema}
        if question.effort:
            out["thinking"] = {"type": "enabled", "token_budget": 2048}
        if question.stop:
            out["stop_sequences"] = question.stop
        return out

    def plain(self, question: Question) -> Answer:
        raw = self.sdk.with_raw_response.chat(**self.request(question))
        whole, message = raw.data, raw.data.message
        out = Answer(headers=dict(raw.headers))
        for part in message.content or []:
            out.text += part.text if part.type == "text" else ""
            out.thinking += part.thinking if part.type == "thinking" else ""
        out.text += message.tool_plan or ""
        out.calls = [Call(c.id, c.function.name, parsed(c.function.arguments)) for c in message.tool_calls or []]
        return self._end(out, whole.finish_reason, whole.usage)

    def stream(self, question: Question) -> Answer:
        out, arguments, opened = Answer(), "", None
        for event in self.sdk.chat_stream(**self.request(question)):
            kind = event.type
            if kind == "content-start":
                assert opened is None
                opened = (event.index, event.delta.message.content.type)
            elif kind == "content-delta":
                assert opened and opened[0] == event.index, event
                content = event.delta.message.content
                out.text += content.text or ""
                out.thinking += content.thinking or ""
            elif kind == "content-end":
                assert opened and opened[0] == event.index, event
                opened = None
            elif kind == "tool-plan-delta":
                out.text += event.delta.message.tool_plan
            elif kind == "tool-call-start":
                assert opened is None
                opened = (event.index, "call")
                call = event.delta.message.tool_calls
                out.calls.append(Call(call.id, call.function.name, None))
                arguments = call.function.arguments or ""
            elif kind == "tool-call-delta":
                assert opened == (event.index, "call"), event
                arguments += event.delta.message.tool_calls.function.arguments or ""
            elif kind == "tool-call-end":
                assert opened == (event.index, "call"), event
                opened = None
                out.calls[-1].arguments = parsed(arguments)
            elif kind == "message-end":
                assert opened is None or event.delta.finish_reason == "ERROR"
                self._end(out, event.delta.finish_reason, event.delta.usage)
        return out

    @staticmethod
    def _end(out, reason, usage) -> Answer:
        if usage and usage.tokens:
            cached = int(usage.cached_tokens or 0)
            out.usage = (int(usage.tokens.input_tokens), int(usage.tokens.output_tokens), cached)
        out.native_stop = reason
        stops = {"COMPLETE": "end", "STOP_SEQUENCE": "sequence", "MAX_TOKENS": "length", "TOOL_CALL": "tool"}
        stops |= {"ERROR_TOXIC": "filtered"}
        if reason not in stops:  # the SDK hands an error in a stream on as an end like others
            raise ApiError(status_code=200, body=f"the answer ended with {reason}")
        out.stop = stops[reason]
        return out


class Bedrock:
    """`boto3`, Converse of `bedrock-runtime`; the id of its access key is made of the secret."""

    name = "bedrock"
    errors = (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError)
    bad_key = not_found = bad_request = rate_limit = server = botocore.exceptions.ClientError

    def __init__(self, gateway, key, timeout=60):
        settings = botocore.config.Config(
            retries={"total_max_attempts": 1}, read_timeout=timeout, max_pool_connections=16
        )
        access_key = "AKID" + re.sub("[^0-9A-Z]", "", key.upper())
        self.sdk = boto3.session.Session(access_key, key, region_name="us-east-1").client(
            "bedrock-runtime", endpoint_url=f"http://{gateway}", config=settings
        )

    def request(self, question: Question) -> dict:
        def user(text, image):
            content = [{"text": text}]
            if image:
                content.append({"image": {"format": "png", "source": {"bytes": image}}})
            return {"role": "user", "content": content}

        def call(one):
            return {"toolUse": {"toolUseId": one.id, "name": one.name, "input": one.arguments}}

        def result(one, text):
            return {"toolResult": {"toolUseId": one.id, "content": [{"text": text}]}}

        messages = cases(
            question,
            user,
            lambda text: {"role": "assistant", "content": [{"text": text}]},
            lambda calls: {"role": "assistant", "content": [call(one) for one in calls]},
            lambda results: {"role": "user", "content": [result(one, text) for one, text in results]},
        )
        inference = {"maxTokens": question.max_tokens}
        if question.stop:
            inference["stopSequences"] = question.stop
        out = {"modelId": question.model, "messages": list(messages), "inferenceConfig": inference}
        if question.system:
            out["system"] = [{"text": question.system}]
        if question.tools:
            specs = [
                {"toolSpec": {"name": t.name, "description": t.about, "inputSchema": {"json": t.schema}}}
                for t in question.tools
            ]
            out["toolConfig"] = {"tools": specs}
        if question.forced:
            out["toolConfig"]["toolChoice"] = {"tool": {"name": question.forced}}
        if question.schema:
            schema = {"name": "answer", "schema": json.dumps(question.schema)}
            structure = {"jsonSchema": schema}
            out["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": structure}}
        if question.effort:
            thinking = {"type": "enabled", "budget_tokens": 2048}
            out["additionalModelRequestFields"] = {"thinking": thinking}
        return out

    def plain(self, question: Question) -> Answer:
        whole = self.sdk.converse(**self.request(question))
        out = Answer(headers=whole["ResponseMetadata"]["HTTPHeaders"])
        message = whole["output"]["message"]
        assert message["role"] == "assistant"
        for block in message["content"]:
            if "text" in block:
                out.text += block["text"]
            elif "toolUse" in block:
                use = block["toolUse"]
                out.calls.append(Call(use["toolUseId"], use["name"], use["input"]))
            elif "reasoningContent" in block:
                out.thinking += block["reasoningContent"].get("reasoningText", {}).get("text", "")
            elif "citationsContent" in block:
                out.text += "".join(part["text"] for part in block["citationsContent"].get("content", []))
        return self._end(out, whole["stopReason"], whole["usage"])

    def stream(self, question: Question) -> Answer:
        whole = self.sdk.converse_stream(**self.request(question))
        out = Answer(headers=whole["ResponseMetadata"]["HTTPHeaders"])
        arguments, reason, usage, opened = "", None, None, None
        for event in whole["stream"]:
            ((kind, said),) = event.items()
            if kind == "contentBlockStart":
                assert opened is None, event
                opened = said["contentBlockIndex"]
                if "toolUse" in said["start"]:
                    use = said["start"]["toolUse"]
                    out.calls.append(Call(use["toolUseId"], use["name"], None))
                    arguments = ""
            elif kind == "contentBlockDelta":
                opened = said["contentBlockIndex"] if opened is None else opened
                assert opened == said["contentBlockIndex"], event
                delta = said["delta"]
                out.text += delta.get("text", "")
                arguments += delta.get("toolUse", {}).get("input", "")
                out.thinking += delta.get("reasoningContent", {}).get("text", "")
            elif kind == "contentBlockStop":
                opened = None
                if out.calls and out.calls[-1].arguments is None:
                    out.calls[-1].arguments = parsed(arguments)
            elif kind == "messageStop":
                assert opened is None
                reason = said["stopReason"]
            elif kind == "metadata":
                usage = said["usage"]
        return self._end(out, reason, usage)

    @staticmethod
    def _end(out, reason, usage) -> Answer:
        if usage:
            read, write = usage.get("cacheReadInputTokens", 0), usage.get("cacheWriteInputTokens", 0)
            out.usage = (usage["inputTokens"] + read + write, usage["outputTokens"], read)
            assert usage["totalTokens"] == out.usage[0] + out.usage[1], usage
        stops = {"end_turn": "end", "stop_sequence": "sequence", "tool_use": "tool", "max_tokens": "length"}
        stops |= {"guardrail_intervened": "filtered", "content_filtered": "filtered"}
        stops |= {"model_context_window_exceeded": "length"}
        out.native_stop = reason
        out.stop = stops[reason] if reason else None
        return out


class Unsayable(Exception):
    """The dialect of a front has no words for this question."""


CLASSES = {front.name: front for front in (Chat, Responses, Anthropic, Gemini, Cohere, Bedrock)}


def front(name: str, gateway: str, key: str, timeout=60):
    """The SDK of one front, as a client of the gateway at this address."""
    return CLASSES[name](gateway, key, timeout)
