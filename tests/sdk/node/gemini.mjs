// The official `@google/genai` at Gemini's front. Prints what it got as JSON.

import { GoogleGenAI } from "@google/genai";

const { base, key, provider } = JSON.parse(process.argv[2]);
const client = (apiKey) => new GoogleGenAI({ apiKey, vertexai: false, httpOptions: { baseUrl: base } });
const { models } = client(key);
const contents = "Say something.";
const model = (keys) => `${provider}/sim/${keys}`;
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const out = {};

/** The class and status of what `ask` throws. */
async function thrown(ask) {
  try {
    await ask();
    return null;
  } catch (error) {
    return { name: error.constructor.name, status: error.status ?? null };
  }
}

async function all(stream) {
  const said = { text: "", finish: null, calls: [] };
  for await (const chunk of stream) {
    said.text += chunk.candidates?.[0]?.content?.parts?.map((part) => part.text ?? "").join("") ?? "";
    said.finish = chunk.candidates?.[0]?.finishReason ?? said.finish;
    said.calls.push(...(chunk.functionCalls ?? []).map((call) => [call.name, call.args]));
  }
  return said;
}

let whole = await models.generateContent({ model: model("events-5"), contents });
out.plain = [whole.text, whole.candidates[0].finishReason, whole.usageMetadata.candidatesTokenCount];
out.stream = await all(await models.generateContentStream({ model: model("events-5"), contents }));
const functionDeclarations = [{ name: "get_weather", parametersJsonSchema: schema }];
const config = { tools: [{ functionDeclarations }] };
out.tools = await all(await models.generateContentStream({ model: model("tools-1"), contents, config }));
const ask = (keys) => models.generateContent({ model: model(keys), contents });
out.errors = {
  key: await thrown(() => client("sk-wrong").models.generateContent({ model: model("events-2"), contents })),
  model: await thrown(() => models.generateContent({ model: "nobody", contents })),
  rate: await thrown(() => ask("status-429")),
  server: await thrown(() => ask("status-500")),
  broken: await thrown(async () => all(await models.generateContentStream({ model: model("cut-3/events-9"), contents }))),
};
console.log(JSON.stringify(out));
