// Inference answers. The text depends on the prompt and the script alone, so that a test knows
// every byte of content beforehand: a request for "one two" is answered "echo: one two".
import { createHash } from 'node:crypto';
import { isForm, protocolAnswer } from './protocols.mjs';

const EMBEDDING_SIZE = 8;

const digestOf = (value) => createHash('sha256').update(value).digest();

function textOf(content) {
  if (typeof content === 'string') {
    return content;
  }
  if (!Array.isArray(content)) {
    return '';
  }
  return content.map((part) => (typeof part?.text === 'string' ? part.text : '')).join(' ');
}

const wordsOf = (value) => value.split(/\s+/).filter((word) => word !== '');

// {prompt, all}: what is echoed, and all words that count as prompt tokens.
function readPrompt(path, request) {
  if (path.endsWith('/chat/completions')) {
    const messages = Array.isArray(request.messages) ? request.messages : [];
    const last = messages.filter((message) => message?.role === 'user').at(-1);
    return {
      echoed: wordsOf(textOf(last?.content)),
      all: messages.flatMap((message) => wordsOf(textOf(message?.content))),
    };
  }
  const prompt = [request.prompt ?? request.input ?? ''].flat().map(String).join(' ');
  return { echoed: wordsOf(prompt), all: wordsOf(prompt) };
}

// The tokens of the answer: "echo:" and the prompt's words, repeated up to script.tokens and
// cut at the request's own maximum.
function makeTokens(words, request, script) {
  const base = ['echo:', ...words];
  const wanted = script.tokens ?? base.length;
  const limit = request.max_completion_tokens ?? request.max_tokens ?? Infinity;
  const count = Math.max(0, Math.min(wanted, limit));
  const tokens = Array.from({ length: count }, (_, i) =>
    (i === 0 ? '' : ' ') + base[i % base.length]);
  return { tokens, finish: wanted > limit ? 'length' : 'stop' };
}

function makeId(kind, chat, serial) {
  if (kind === 'ollama') {
    return `${chat ? 'chatcmpl' : 'cmpl'}-${100 + (serial % 900)}`;
  }
  const hex = digestOf(`answer ${serial}`).toString('hex').slice(0, 32);
  return `${chat ? 'chatcmpl' : 'cmpl'}-${hex}`;
}

const timingsOf = (usage) => ({
  prompt_n: usage.prompt_tokens,
  prompt_ms: usage.prompt_tokens * 1.5,
  prompt_per_token_ms: 1.5,
  prompt_per_second: 666.7,
  predicted_n: usage.completion_tokens,
  predicted_ms: usage.completion_tokens * 20,
  predicted_per_token_ms: 20,
  predicted_per_second: 50,
});

function unaryAnswer(answer) {
  const { kind, chat, head, content, finish, usage } = answer;
  const choice = { index: 0 };

  if (chat) {
    choice.message = { role: 'assistant', content };
    if (kind === 'vllm') {
      Object.assign(choice.message, { reasoning_content: null, tool_calls: [] });
    }
    if (kind === 'openai') {
      Object.assign(choice.message, { refusal: null, annotations: [] });
    }
  } else {
    choice.text = content;
  }
  choice.logprobs = null;
  choice.finish_reason = finish;
  if (kind === 'vllm') {
    choice.stop_reason = null;
  }
  if (kind === 'ollama') {
    delete choice.logprobs;
  }
  const whole = { ...head, choices: [choice], usage };
  if (kind === 'vllm') {
    whole.usage = { ...usage, prompt_tokens_details: null };
    whole.prompt_logprobs = null;
  }
  if (kind === 'llamacpp') {
    whole.timings = timingsOf(usage);
  }
  return whole;
}

// One streamed choice. Which fields a chunk has differs: Ollama repeats the role in every delta
// and llama.cpp opens with a null content.
function chunkChoice(answer, delta, finish) {
  const { kind, chat } = answer;
  const choice = chat
    ? { index: 0, delta: kind === 'ollama' ? { role: 'assistant', content: '', ...delta } : delta }
    : { index: 0, text: delta.content ?? '' };

  if (kind === 'vllm' || kind === 'openai') {
    choice.logprobs = null;
  }
  choice.finish_reason = finish;
  return choice;
}

// The usage that an event with choices has, or undefined where it has no such member. Only OpenAI
// and older vLLM have it there as null. vLLM counts on where it is asked to; Ollama's completions
// have zeros; llama.cpp's completions have the whole in the last, asked or not.
function usageBeside(answer, request, { said, last }) {
  const { kind, chat, dialect, usage } = answer;
  const asked = request.stream_options?.include_usage === true && !answer.ignores;

  if (kind === 'llamacpp' && !chat) {
    return last ? usage : undefined;
  }
  if (!asked) {
    return undefined;
  }
  if (kind === 'vllm' && request.stream_options.continuous_usage_stats === true) {
    return { prompt_tokens: usage.prompt_tokens, completion_tokens: said,
      total_tokens: usage.prompt_tokens + said };
  }
  if (kind === 'ollama' && !chat) {
    return { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 };
  }
  return kind === 'openai' || (kind === 'vllm' && dialect === 'old') ? null : undefined;
}

// llama.cpp writes the choices first; its timings come with the last thing that it says.
const eventOf = ({ kind, head }, choices, more) => (kind === 'llamacpp'
  ? { choices, created: head.created, id: head.id, model: head.model, object: head.object, ...more }
  : { ...head, choices, ...more });

function streamEvents(answer, request) {
  const { kind, chat, tokens, finish, usage } = answer;
  const withUsage = request.stream_options?.include_usage === true && !answer.ignores
    && (kind !== 'llamacpp' || chat);
  const timings = kind === 'llamacpp' ? { timings: timingsOf(usage) } : {};
  const events = [];
  let said = 0;

  if (chat) {
    answer.head = { ...answer.head, object: 'chat.completion.chunk' };
  }
  const write = (choices, more) =>
    events.push(`data: ${JSON.stringify(eventOf(answer, choices, more))}\n\n`);
  const add = (choice, last = false, more = {}) => {
    const beside = usageBeside(answer, request, { said, last });
    write([choice], { ...(beside === undefined ? {} : { usage: beside }), ...more });
  };

  if (chat && kind !== 'ollama') {
    const opening = { role: 'assistant', content: kind === 'llamacpp' ? null : '' };
    add(chunkChoice(answer, opening, null));
  }
  for (const token of tokens) {
    said += 1;
    add(chunkChoice(answer, { content: token }, null));
  }
  add(chunkChoice(answer, {}, finish), true, withUsage ? {} : timings);
  if (withUsage) {
    write([], { usage, ...timings });
  }
  events.push('data: [DONE]\n\n');
  return events;
}

function completion(context) {
  const { kind, dialect, model, path, request, script, serial, created } = context;
  const chat = path.endsWith('/chat/completions');
  const { echoed, all } = readPrompt(path, request);
  const { tokens, finish } = makeTokens(echoed, request, script);
  const usage = {
    prompt_tokens: all.length,
    completion_tokens: tokens.length,
    total_tokens: all.length + tokens.length,
  };
  const head = {
    id: makeId(kind, chat, serial),
    object: chat ? 'chat.completion' : 'text_completion',
    created,
    model: model.name,
  };
  if (kind === 'ollama') {
    head.system_fingerprint = 'fp_ollama';
  }
  const answer = { kind, dialect, chat, head, tokens, finish, usage, content: tokens.join(''),
    ignores: script.no_usage === true };
  return request.stream === true
    ? { events: streamEvents(answer, request) }
    : { value: unaryAnswer(answer) };
}

function vectorOf(input) {
  const digest = digestOf(String(input));
  return Array.from({ length: EMBEDDING_SIZE }, (_, i) => digest.readInt16BE(2 * i) / 32768);
}

function embeddings({ model, request }) {
  const inputs = Array.isArray(request.input) ? request.input : [request.input ?? ''];
  const tokens = inputs.reduce((sum, input) => sum + wordsOf(String(input)).length, 0);
  const encode = (vector) => (request.encoding_format === 'base64'
    ? Buffer.from(Float32Array.from(vector).buffer).toString('base64')
    : vector);

  return {
    value: {
      object: 'list',
      data: inputs.map((input, index) => ({
        object: 'embedding', index, embedding: encode(vectorOf(input)),
      })),
      model: model.name,
      usage: { prompt_tokens: tokens, total_tokens: tokens },
    },
  };
}

// {value} for a unary answer (with `bytes` and `type`: one that is no JSON), {events} for a stream
// of server-sent events (with `type`: of another kind).
export function answerTo(context) {
  const other = protocolAnswer(context);
  if (other !== undefined) {
    return other;
  }
  return context.path.endsWith('/embeddings') ? embeddings(context) : completion(context);
}

// The request's fields, or null where the body is not what the endpoint takes.
export function readRequest(path, body) {
  if (isForm(path)) {
    const form = body.toString('latin1');
    const part = /name="model"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]*)\r\n/.exec(form);
    return part === null ? null : { model: part[1] };
  }
  try {
    const request = JSON.parse(body.toString('utf8'));
    return request !== null && typeof request === 'object' && !Array.isArray(request)
      ? request : null;
  } catch {
    return null;
  }
}
