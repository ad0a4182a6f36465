// The official `openai` package at the fronts of Chat and Responses. Prints what it got as JSON.

import OpenAI from "openai";

const { base, key, provider } = JSON.parse(process.argv[2]);
const options = { baseURL: `${base}/v1`, apiKey: key, maxRetries: 0 };
const client = new OpenAI(options);
const messages = [{ role: "user", content: "Say something." }];
const model = (keys) => `${provider}/sim/${keys}`;
const schema = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city", "days"],
  additionalProperties: false,
};
const tools = [{ type: "function", function: { name: "get_weather", parameters: schema } }];
const out = {};

/** The class, status and code of what `ask` throws. */
async function thrown(ask) {
  try {
    await ask();
    return null;
  } catch (error) {
    return { name: error.constructor.name, status: error.status ?? null, code: error.code ?? null };
  }
}

async function drain(stream) {
  for await (const _ of stream);
}

let whole = await client.chat.completions.create({ model: model("events-5"), messages });
out.plain = [whole.choices[0].message.content, whole.choices[0].finish_reason, whole.usage.completion_tokens];

let text = "";
let finish = null;
const stream = await client.chat.completions.create({ model: model("events-5"), messages, stream: true });
for await (const chunk of stream) {
  text += chunk.choices[0]?.delta.content ?? "";
  finish = chunk.choices[0]?.finish_reason ?? finish;
}
out.stream = [text, finish];

const helper = client.chat.completions.stream({ model: model("tools-1"), messages, tools });
const message = await helper.finalMessage();
const call = message.tool_calls[0];
out.tools = [call.function.name, JSON.parse(call.function.arguments)];
const turns = [...messages, message, { role: "tool", tool_call_id: call.id, content: "sunny" }];
whole = await client.chat.completions.create({ model: model("events-2"), messages: turns, tools });
out.result = whole.choices[0].message.content;

const ran = [];
const runner = client.chat.completions.runTools({
  model: model("tools-1"),
  messages,
  tools: [
    {
      type: "function",
      function: {
        name: "get_weather",
        parameters: schema,
        parse: JSON.parse,
        function: (given) => {
          ran.push(given.city);
          return "sunny";
        },
      },
    },
  ],
});
out.runner = [await runner.finalContent(), ran];

const format = { type: "json_schema", json_schema: { name: "weather", schema, strict: true } };
whole = await client.chat.completions.parse({ model: model("events-2"), messages, response_format: format });
out.parsed = Object.keys(whole.choices[0].message.parsed);

whole = await client.responses.create({ model: model("events-5"), input: "Say something." });
out.responses = [whole.output_text, whole.status, whole.usage.output_tokens];
const events = client.responses.stream({ model: model("events-5"), input: "Say something." });
out.responsesStream = [(await events.finalResponse()).output_text];
const flat = [{ type: "function", name: "get_weather", parameters: schema, strict: false }];
whole = await client.responses.create({ model: model("tools-1"), input: "Say something.", tools: flat });
const item = whole.output.find((item) => item.type === "function_call");
out.responsesTools = [item.name, JSON.parse(item.arguments)];

const ask = (keys, more) => client.chat.completions.create({ model: model(keys), messages, ...more });
const wrong = new OpenAI({ ...options, apiKey: "sk-wrong" });
out.errors = {
  key: await thrown(() => wrong.chat.completions.create({ model: model("events-2"), messages })),
  model: await thrown(() => client.chat.completions.create({ model: "nobody", messages })),
  field: await thrown(() => ask("events-2", { messages: [{ role: "user", content: 7 }] })),
  rate: await thrown(() => ask("status-429")),
  server: await thrown(() => ask("status-500")),
  broken: await thrown(async () => drain(await ask("cut-3/events-9", { stream: true }))),
  brokenResponses: await thrown(async () =>
    client.responses.stream({ model: model("cut-3/events-9"), input: "x" }).finalResponse(),
  ),
};
console.log(JSON.stringify(out));
