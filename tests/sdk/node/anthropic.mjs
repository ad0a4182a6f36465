// The official `@anthropic-ai/sdk` at the front of Messages. Prints what it got as JSON.

import Anthropic from "@anthropic-ai/sdk";

const { base, key, provider } = JSON.parse(process.argv[2]);
const options = { baseURL: base, apiKey: key, authToken: null, maxRetries: 0 };
const client = new Anthropic(options);
const messages = [{ role: "user", content: "Say something." }];
const model = (keys) => `${provider}/sim/${keys}`;
const schema = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city", "days"],
};
const tools = [{ name: "get_weather", input_schema: schema }];
const max_tokens = 4096;
const out = {};

/** The class, status and type of what `ask` throws. */
async function thrown(ask) {
  try {
    await ask();
    return null;
  } catch (error) {
    const type = error.error?.error?.type ?? null;
    return { name: error.constructor.name, status: error.status ?? null, type };
  }
}

let whole = await client.messages.create({ model: model("events-5"), max_tokens, messages });
out.plain = [whole.content[0].text, whole.stop_reason, whole.usage.output_tokens];
out.requestId = whole._request_id;

let text = "";
const stream = client.messages.stream({ model: model("events-5"), max_tokens, messages });
stream.on("text", (delta) => (text += delta));
whole = await stream.finalMessage();
out.stream = [text, whole.content[0].text, whole.stop_reason];

const thinking = { type: "enabled", budget_tokens: 2048 };
const turn = client.messages.stream({ model: model("thinking-2/tools-1"), max_tokens, messages, tools, thinking });
whole = await turn.finalMessage();
out.thinking = whole.content.find((block) => block.type === "thinking")?.thinking;
const use = whole.content.find((block) => block.type === "tool_use");
out.tools = [use.name, use.input, whole.stop_reason];
const result = { type: "tool_result", tool_use_id: use.id, content: "sunny" };
const turns = [...messages, { role: "assistant", content: whole.content }, { role: "user", content: [result] }];
whole = await client.messages.create({ model: model("events-2"), max_tokens, messages: turns, tools, thinking });
out.result = whole.content.at(-1).text;

out.count = (await client.messages.countTokens({ model: model("events-2"), messages })).input_tokens;

const ask = (keys, more) => client.messages.create({ model: model(keys), max_tokens, messages, ...more });
const wrong = new Anthropic({ ...options, apiKey: "sk-wrong" });
out.errors = {
  key: await thrown(() => wrong.messages.create({ model: model("events-2"), max_tokens, messages })),
  model: await thrown(() => client.messages.create({ model: "nobody", max_tokens, messages })),
  field: await thrown(() => ask("events-2", { messages: [{ role: "user", content: 7 }] })),
  rate: await thrown(() => ask("status-429")),
  server: await thrown(() => ask("status-500")),
  overloaded: await thrown(() => ask("status-529")),
  broken: await thrown(() =>
    client.messages.stream({ model: model("cut-3/events-9"), max_tokens, messages }).finalMessage(),
  ),
};
console.log(JSON.stringify(out));
