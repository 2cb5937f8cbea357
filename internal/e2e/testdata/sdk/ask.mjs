// An application that uses the official clients, which do not send anything again
// here. It asks once and prints, as JSON, what it got.
//
//   node ask.mjs URL CALL REQUEST HEADERS
//
// URL is where the API is, without /v1. CALL is a name of calls. REQUEST and HEADERS
// are JSON: what the call takes, and what is sent besides.

import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

const [url, call, request, headers] = process.argv.slice(2);
const settings = { apiKey: 'any', maxRetries: 0, logLevel: 'off', defaultHeaders: JSON.parse(headers) };
const openai = new OpenAI({ ...settings, baseURL: `${url}/v1` });
const anthropic = new Anthropic({ ...settings, baseURL: url });

const got = { text: '', ids: [], finish: [], usage: null, error: null };
const calls = { chat, completion, models, message };

try {
  await calls[call](JSON.parse(request));
} catch (error) {
  got.error = describe(error);
}
console.log(JSON.stringify(got));

async function chat(request) {
  const answer = await openai.chat.completions.create(request);
  for await (const part of request.stream ? answer : [answer]) {
    const choice = part.choices[0];
    hear(part, (choice?.delta ?? choice?.message)?.content, choice?.finish_reason);
  }
}

async function completion(request) {
  const answer = await openai.completions.create(request);
  for await (const part of request.stream ? answer : [answer]) {
    hear(part, part.choices[0]?.text, part.choices[0]?.finish_reason);
  }
}

async function models() {
  for await (const model of openai.models.list()) hear(model);
}

async function message(request) {
  for await (const event of await anthropic.messages.create({ ...request, stream: true })) {
    hear(event.message ?? event, event.delta?.text, event.delta?.stop_reason);
  }
}

function hear(part, text, finish) {
  if (part.id && !got.ids.includes(part.id)) got.ids.push(part.id);
  if (text) got.text += text;
  if (finish) got.finish.push(finish);
  if (part.usage) got.usage = { ...got.usage, ...part.usage };
}

// describe tells what was thrown. Its kinds are the names of its class and of those
// that the class extends.
function describe(error) {
  const kinds = [];
  for (let kind = error.constructor; kind.name; kind = Object.getPrototypeOf(kind)) kinds.push(kind.name);
  const { status, code, type, message } = error;
  return { kinds, status, code, type, message, cause: error.cause?.message };
}
