"""What the official SDK gets when all goes well."""

import asyncio
import base64
import json
import struct
import time

from processes import PROVIDER_KEY

ASK = [{"role": "user", "content": "Say something."}]


def words(count: int) -> str:
    """What the simulator answers: the words in their order."""
    return "".join(f"token {n} " for n in range(count))


def text_of(chunks) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def test_a_chat_is_answered_with_usage_and_names_its_exchange(client, gateway):
    raw = client.chat.completions.with_raw_response.create(model="chat", messages=ASK)
    answer = raw.parse()
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content.strip() == words(8).strip()
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == 8
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 8
    assert raw.headers["x-shardgate-attempts"] == "1"
    line = gateway.receipt(raw.headers["x-request-id"])
    assert (line["status"], line["end"], line["route"], line["key"]) == (200, "done", "chat", "all")
    assert (line["tokens_in"], line["tokens_out"]) == (answer.usage.prompt_tokens, 8)


def test_a_stream_is_whole_and_in_order(client):
    chunks = list(client.chat.completions.create(model="p/sim/events-200", messages=ASK, stream=True))
    assert text_of(chunks).strip() == words(200).strip()
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"


def test_the_first_event_arrives_before_the_last_is_made(client):
    """Goal: events are passed on as they come. Method: 20 events in a second come spread
    over that second; on a busy machine all of them may come late."""
    at = []
    for chunk in client.chat.completions.create(model="p/sim/rate-20/events-20", messages=ASK, stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            at.append(time.monotonic())
    assert len(at) == 20
    assert at[-1] - at[0] > 0.7, at


def test_usage_comes_with_a_stream_that_asks_for_it(client):
    chunks = list(
        client.chat.completions.create(
            model="p/sim/events-5", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 5
    assert all(c.usage is None for c in chunks[:-1])


def test_a_stream_that_does_not_ask_sees_no_usage_but_is_counted(client, gateway):
    """Goal: the gateway asks upstream for the usage, reads it, and withholds the chunk."""
    stream = client.chat.completions.create(model="p/sim/events-5", messages=ASK, stream=True)
    chunks = list(stream)
    assert all(len(c.choices) == 1 and c.usage is None for c in chunks)
    line = gateway.receipt(stream.response.headers["x-request-id"])
    assert line["tokens_out"] == 5 and line["tokens_in"] > 0
    assert line["end"] == "done"


def test_text_completions_plain_and_streamed(client):
    plain = client.completions.create(model="p/sim/events-3", prompt="Say something.")
    assert plain.choices[0].text.strip() == words(3).strip()
    streamed = client.completions.create(model="p/sim/events-3", prompt="Say something.", stream=True)
    assert "".join(c.choices[0].text for c in streamed if c.choices).strip() == words(3).strip()


def test_embeddings_as_numbers_and_as_base64(client):
    """Goal: both forms pass. Method: the SDK asks for base64 by itself and decodes it; what it
    got must be what it gets when it asks for numbers."""
    inputs = ["one", "two"]
    numbers = client.embeddings.create(model="p/sim/dims-16", input=inputs, encoding_format="float")
    by_default = client.embeddings.create(model="p/sim/dims-16", input=inputs)
    raw = client.embeddings.with_raw_response.create(model="p/sim/dims-16", input=inputs, encoding_format="base64")
    assert [len(e.embedding) for e in numbers.data] == [16, 16]
    encoded = [e["embedding"] for e in json.loads(raw.text)["data"]]
    for one, other, coded in zip(numbers.data, by_default.data, encoded, strict=True):
        exact = [struct.unpack("f", struct.pack("f", x))[0] for x in one.embedding]
        assert exact == list(other.embedding)
        assert exact == list(struct.unpack("16f", base64.b64decode(coded)))


def test_models_are_listed_as_the_key_may_see_them(client, gateway):
    from openai import OpenAI

    from processes import NARROW_KEY

    listed = [m.id for m in client.models.list()]
    assert listed == ["chat", "fallback", "all-fail", "unreachable", "late", "silent", "endless"]
    assert client.models.retrieve("chat").id == "chat"
    with OpenAI(base_url=gateway.url, api_key=NARROW_KEY, max_retries=0) as narrow:
        assert [m.id for m in narrow.models.list()] == ["chat"]


def test_a_failing_target_is_replaced_unseen(client, gateway):
    for stream in (False, True):
        raw = client.chat.completions.with_raw_response.create(model="fallback", messages=ASK, stream=stream)
        assert raw.headers["x-shardgate-attempts"] == "2"
        answer = raw.parse()
        text = text_of(answer) if stream else answer.choices[0].message.content
        assert text.strip() == words(4).strip()
        line = gateway.receipt(raw.headers["x-request-id"])
        assert (line["attempts"], line["status"], line["end"]) == (2, 200, "done")


def test_fifty_streams_at_once_are_each_whole(asynchronous):
    async def one(sdk, n):
        model = f"p/sim/rate-100/events-{20 + n}"
        stream = await sdk.chat.completions.create(model=model, messages=ASK, stream=True)
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].choices[0].finish_reason == "stop"
        return text_of(chunks).strip()

    async def all_of_them():
        async with asynchronous() as sdk:
            return await asyncio.gather(*(one(sdk, n) for n in range(50)))

    assert asyncio.run(all_of_them()) == [words(20 + n).strip() for n in range(50)]


def test_a_prompt_of_20_mebibytes_is_answered(client, provider):
    before = provider.stats()["bytes_in"]
    prompt = "x" * (20 << 20)
    answer = client.chat.completions.create(model="chat", messages=[{"role": "user", "content": prompt}])
    assert answer.choices[0].message.content.strip() == words(8).strip()
    assert provider.stats()["bytes_in"] - before > 20 << 20


def test_what_the_gateway_does_not_understand_passes(client):
    """Goal: unknown fields of the request reach the provider. Method: the simulator takes its
    orders from the field `user` and from a header of ours; both lie beyond the gateway."""
    answer = client.chat.completions.create(
        model="chat", messages=ASK, user="sim/events-2", extra_body={"of_tomorrow": {"a": [1, 2.50]}}
    )
    assert answer.choices[0].message.content.strip() == words(2).strip()


def test_the_clients_key_stays_here_and_the_providers_key_stays_there(client, provider, gateway):
    """Goal: keys are exchanged. Method: the simulator refuses any key but its own, and is asked
    directly with the client's."""
    from openai import AuthenticationError, OpenAI

    assert client.chat.completions.create(model="chat", messages=ASK).choices
    raw = client.chat.completions.with_raw_response.create(model="chat", messages=ASK)
    assert PROVIDER_KEY not in raw.text + str(raw.headers)
    with OpenAI(base_url=f"http://{provider.address}/v1", api_key="sk-of-a-client", max_retries=0) as direct:
        try:
            direct.chat.completions.create(model="m", messages=ASK)
        except AuthenticationError:
            return
    raise AssertionError("the simulator does not look at its key, so this test shows nothing")
