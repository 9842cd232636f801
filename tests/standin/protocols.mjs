// What model servers answer on the endpoints beside chat, completions and embeddings: OpenAI's
// responses, moderations, audio and images, vLLM's rerank and score, Anthropic's messages, and
// Ollama's own API. Field names and event orders are those of the real servers.
import { createHash } from 'node:crypto';

const digestOf = (value) => createHash('sha256').update(String(value)).digest();
const idOf = (prefix, serial) => prefix + digestOf(`${prefix} ${serial}`).toString('hex').slice(0, 32);
const wordsOf = (value) => String(value).split(/\s+/).filter((word) => word !== '');

function textOf(content) {
  if (Array.isArray(content)) {
    return content.map((part) => (typeof part === 'string' ? part : part?.text ?? '')).join(' ');
  }
  return typeof content === 'string' ? content : '';
}

// The words of the last message of the user, or of a plain text.
function askedOf({ messages, input, prompt }) {
  if (Array.isArray(messages)) {
    return wordsOf(textOf(messages.filter((one) => one?.role === 'user').at(-1)?.content));
  }
  const source = input ?? prompt ?? '';
  return wordsOf(Array.isArray(source) ? textOf(source.map((one) => one?.content ?? one).flat())
    : source);
}

const tokensOf = (words) => ['echo:', ...words].map((word, i) => (i === 0 ? '' : ' ') + word);
const named = (events) => events.map((event) =>
  `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);

function responses({ model, request, serial, created }) {
  const words = askedOf(request);
  const tokens = tokensOf(words);
  const text = tokens.join('');
  const part = { type: 'output_text', text, annotations: [], logprobs: [] };
  const item = { id: idOf('msg_', serial), type: 'message', status: 'completed',
    role: 'assistant', content: [part] };
  const response = { id: idOf('resp_', serial), object: 'response', created_at: created,
    status: 'completed', background: false, error: null, incomplete_details: null,
    instructions: null, max_output_tokens: null, model: model.name, output: [item],
    parallel_tool_calls: true, previous_response_id: null, reasoning: { effort: null,
      summary: null }, store: false, temperature: 1, text: { format: { type: 'text' } },
    tool_choice: 'auto', tools: [], top_p: 1, truncation: 'disabled',
    usage: { input_tokens: words.length, input_tokens_details: { cached_tokens: 0 },
      output_tokens: tokens.length, output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: words.length + tokens.length }, user: null, metadata: {} };
  if (request.stream !== true) {
    return { value: response };
  }
  const open = { ...response, status: 'in_progress', output: [], usage: null };
  const at = { item_id: item.id, output_index: 0, content_index: 0 };
  const events = [
    { type: 'response.created', response: open },
    { type: 'response.in_progress', response: open },
    { type: 'response.output_item.added', output_index: 0,
      item: { ...item, status: 'in_progress', content: [] } },
    { type: 'response.content_part.added', ...at, part: { ...part, text: '' } },
    ...tokens.map((delta) => ({ type: 'response.output_text.delta', ...at, delta, logprobs: [] })),
    { type: 'response.output_text.done', ...at, text, logprobs: [] },
    { type: 'response.content_part.done', ...at, part },
    { type: 'response.output_item.done', output_index: 0, item },
    { type: 'response.completed', response },
  ];
  return { events: named(events.map((event, i) => ({ ...event, sequence_number: i }))) };
}

function messages({ model, request, serial }) {
  const words = askedOf(request);
  const tokens = tokensOf(words);
  const message = { id: idOf('msg_', serial), type: 'message', role: 'assistant',
    model: model.name, content: [{ type: 'text', text: tokens.join('') }],
    stop_reason: 'end_turn', stop_sequence: null,
    usage: { input_tokens: words.length, output_tokens: tokens.length } };
  if (request.stream !== true) {
    return { value: message };
  }
  return { events: named([
    { type: 'message_start', message: { ...message, content: [], stop_reason: null,
      usage: { input_tokens: words.length, output_tokens: 1 } } },
    { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
    { type: 'ping' },
    ...tokens.map((text) => ({ type: 'content_block_delta', index: 0,
      delta: { type: 'text_delta', text } })),
    { type: 'content_block_stop', index: 0 },
    { type: 'message_delta', delta: { stop_reason: 'end_turn', stop_sequence: null },
      usage: { output_tokens: tokens.length } },
    { type: 'message_stop' },
  ]) };
}

// Ollama counts in nanoseconds and ends every stream with the object that has "done": true.
function ollama({ model, path, request, created }) {
  const words = askedOf(request);
  const tokens = tokensOf(words);
  const head = { model: model.name, created_at: new Date(created * 1000).toISOString() };
  const said = (content) => (path === '/api/chat'
    ? { message: { role: 'assistant', content } } : { response: content });
  const end = { done: true, done_reason: 'stop',
    ...(path === '/api/generate' ? { context: [1, 2, 3] } : {}),
    total_duration: 5_000_000, load_duration: 1_000_000, prompt_eval_count: words.length,
    prompt_eval_duration: 1_000_000, eval_count: tokens.length, eval_duration: 3_000_000 };
  if (request.stream === false) {
    return { value: { ...head, ...said(tokens.join('')), ...end } };
  }
  return {
    type: 'application/x-ndjson',
    events: [...tokens.map((token) => ({ ...head, ...said(token), done: false })),
      { ...head, ...said(''), ...end }].map((line) => `${JSON.stringify(line)}\n`),
  };
}

const vectorOf = (text) => Array.from({ length: 8 }, (_, i) =>
  digestOf(text).readInt16BE(2 * i) / 32768);

function ollamaEmbed({ model, request }) {
  const inputs = [request.input ?? []].flat();
  return { value: { model: model.name, embeddings: inputs.map(vectorOf), total_duration: 2_000_000,
    load_duration: 1_000_000,
    prompt_eval_count: inputs.reduce((sum, one) => sum + wordsOf(one).length, 0) } };
}

const ollamaEmbeddings = ({ request }) => ({ value: { embedding: vectorOf(request.prompt ?? '') } });

const scoreOf = (text) => digestOf(text).readUInt16BE(0) / 65536;

function rerank({ model, request, serial }) {
  const documents = request.documents ?? [];
  const results = documents.map((document, index) => ({ index,
    document: { text: document, multi_modal: null },
    relevance_score: scoreOf(`${request.query} ${document}`) }))
    .sort((a, b) => b.relevance_score - a.relevance_score);
  return { value: { id: idOf('rerank-', serial), model: model.name,
    usage: { prompt_tokens: wordsOf(documents.join(' ')).length,
      total_tokens: wordsOf(documents.join(' ')).length }, results } };
}

function score({ model, request, serial, created }) {
  const right = [request.text_2 ?? []].flat();
  const tokens = wordsOf([request.text_1, ...right].join(' ')).length;
  return { value: { id: idOf('score-', serial), object: 'list', created, model: model.name,
    data: right.map((text, index) => ({ index, object: 'score', score: scoreOf(text) })),
    usage: { prompt_tokens: tokens, total_tokens: tokens, completion_tokens: 0,
      prompt_tokens_details: null } } };
}

function moderations({ model, request, serial }) {
  const names = ['harassment', 'hate', 'illicit', 'self-harm', 'sexual', 'violence'];
  const of = (value) => Object.fromEntries(names.map((name) => [name, value]));
  return { value: { id: idOf('modr-', serial), model: model.name,
    results: [request.input].flat().map(() => ({ flagged: false, categories: of(false),
      category_scores: of(0.001) })) } };
}

// Bytes that are no text: every value, NUL and broken UTF-8 included.
const speech = ({ request }) => ({
  type: request.response_format === 'wav' ? 'audio/wav' : 'audio/mpeg',
  bytes: Buffer.concat([Buffer.from(Uint8Array.from({ length: 4096 }, (_, i) => i % 256)),
    digestOf(request.input)]),
});

const images = ({ created, bytes }) => ({ value: { created,
  data: [{ b64_json: digestOf(bytes).toString('base64') }],
  usage: { input_tokens: 5, output_tokens: 7, total_tokens: 12,
    input_tokens_details: { text_tokens: 5, image_tokens: 0 } } } });

const heard = ({ bytes }) => ({ value: { text: `heard ${bytes} bytes`,
  usage: { type: 'duration', seconds: 3 } } });

const PROTOCOLS = {
  '/v1/responses': responses, '/v1/messages': messages, '/v1/rerank': rerank, '/rerank': rerank,
  '/v1/score': score, '/score': score, '/v1/moderations': moderations,
  '/v1/audio/speech': speech, '/v1/audio/transcriptions': heard, '/v1/audio/translations': heard,
  '/v1/images/generations': images, '/v1/images/edits': images, '/v1/images/variations': images,
  '/api/chat': ollama, '/api/generate': ollama, '/api/embed': ollamaEmbed,
  '/api/embeddings': ollamaEmbeddings,
};

// Paths by what the real servers of a kind serve.
export const ALL_KINDS = ['/v1/chat/completions', '/v1/completions', '/v1/embeddings',
  '/v1/responses', '/v1/messages'];
export const RANKING = ['/v1/rerank', '/rerank'];
export const SCORING = ['/v1/score', '/score'];
export const MEDIA = ['/v1/audio/speech', '/v1/audio/transcriptions', '/v1/audio/translations',
  '/v1/images/generations', '/v1/images/edits', '/v1/images/variations'];
export const OLLAMA = ['/api/chat', '/api/generate', '/api/embed', '/api/embeddings'];

export const isForm = (path) => ['/v1/audio/transcriptions', '/v1/audio/translations',
  '/v1/images/edits', '/v1/images/variations'].includes(path);

// What such a path answers, or undefined for one of the others.
export const protocolAnswer = (context) => PROTOCOLS[context.path]?.(context);
