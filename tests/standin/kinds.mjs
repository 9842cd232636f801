// What each kind of model server answers outside inference (probes, model lists, errors), in
// its own words. A gateway that reads these must meet the real field names, types and status
// codes here, differences between releases included (see "dialect").
//
// Dialects, where releases differ in what a probe or a client sees:
//   vllm     new: error object under "error", vllm:kv_cache_usage_perc
//            old (0.6 to about 0.9): flat error object, vllm:gpu_cache_usage_perc
//   llamacpp old: /metrics has llamacpp:kv_cache_usage_ratio and kv_cache_tokens
//            new: it has neither (they were removed upstream)
import { createHash } from 'node:crypto';
import { ALL_KINDS, MEDIA, OLLAMA, RANKING, SCORING } from './protocols.mjs';

const JSON_TYPE = 'application/json';
const PROMETHEUS_TYPE = 'text/plain; version=0.0.4';
const CONTEXT = 8192;

export const DIALECTS = { vllm: 'new', ollama: 'new', llamacpp: 'old', openai: 'new' };

export const json = (status, value, type = JSON_TYPE) => ({
  status, type, body: JSON.stringify(value),
});
const text = (status, body, type = 'text/plain; charset=utf-8') => ({ status, type, body });
const sha256 = (value) => createHash('sha256').update(value).digest('hex');

function gauge(prefix, metric, help, value, labels = '') {
  const name = `${prefix}:${metric}`;
  return `# HELP ${name} ${help}\n# TYPE ${name} gauge\n${name}${labels} ${value}\n`;
}

// The share of the key-value cache in use: running requests over slots, at most 1.
const cacheUse = (state) => Math.min(1, state.running / state.slots);

const vllm = {
  server: 'uvicorn',
  slots: 256,
  inference: [...ALL_KINDS, ...RANKING, ...SCORING, ...MEDIA],
  find: (models, name) => models.find((model) => model.name === name),
  error(state, status, message, type = 'BadRequestError') {
    const error = { message, type, param: null, code: status };
    return json(status, state.dialect === 'old' ? { object: 'error', ...error } : { error });
  },
  unknownModel: (state, name) =>
    vllm.error(state, 404, `The model \`${name}\` does not exist.`, 'NotFoundError'),
  notFound: () => json(404, { detail: 'Not Found' }),
  probes: {
    '/health': () => text(200, ''),
    '/version': (state) => json(200, { version: state.dialect === 'old' ? '0.6.6' : '0.11.0' }),
    '/v1/models': (state) => json(200, {
      object: 'list',
      data: state.models.map((model) => ({
        id: model.name,
        object: 'model',
        created: state.created,
        owned_by: 'vllm',
        root: model.name,
        parent: null,
        max_model_len: CONTEXT,
        permission: [{
          id: `modelperm-${sha256(model.name).slice(0, 32)}`,
          object: 'model_permission',
          created: state.created,
          allow_create_engine: false,
          allow_sampling: true,
          allow_logprobs: true,
          allow_search_indices: false,
          allow_view: true,
          allow_fine_tuning: false,
          organization: '*',
          group: null,
          is_blocking: false,
        }],
      })),
    }),
    '/metrics': (state) => {
      const engine = state.dialect === 'old' ? '' : 'engine="0",';
      const labels = `{${engine}model_name="${state.models[0].name}"}`;
      const cache = state.dialect === 'old' ? 'gpu_cache_usage_perc' : 'kv_cache_usage_perc';
      return text(200, [
        gauge('vllm', 'num_requests_running', 'Number of requests in model execution batches.',
          state.running.toFixed(1), labels),
        gauge('vllm', 'num_requests_waiting', 'Number of requests waiting to be processed.',
          state.waiting.toFixed(1), labels),
        gauge('vllm', cache, 'KV-cache usage. 1 means 100 percent usage.',
          cacheUse(state), labels),
      ].join(''), `${PROMETHEUS_TYPE}; charset=utf-8`);
    },
  },
};

const ollamaName = (name) => (name.includes(':') ? name : `${name}:latest`);

const ollamaModel = (state, model) => ({
  name: ollamaName(model.name),
  model: ollamaName(model.name),
  modified_at: new Date(state.created * 1000).toISOString(),
  size: 2019393189,
  digest: model.digest,
  details: {
    parent_model: '',
    format: 'gguf',
    family: 'llama',
    families: ['llama'],
    parameter_size: '3.2B',
    quantization_level: 'Q4_K_M',
  },
});

const ollama = {
  server: null,
  slots: 4,
  inference: [...ALL_KINDS, ...OLLAMA],
  find: (models, name) =>
    models.find((model) => ollamaName(model.name) === ollamaName(String(name))),
  error(state, status, message) {
    const types = { 400: 'invalid_request_error', 404: 'not_found_error' };
    return json(status, {
      error: { message, type: types[status] ?? 'api_error', param: null, code: null },
    });
  },
  unknownModel: (state, name) => ollama.error(state, 404, `model '${name}' not found`),
  notFound: () => text(404, '404 page not found', 'text/plain'),
  probes: {
    '/': () => text(200, 'Ollama is running'),
    '/api/version': () => json(200, { version: '0.12.6' }),
    '/api/tags': (state) => json(200, {
      models: state.models.map((model) => ollamaModel(state, model)),
    }, `${JSON_TYPE}; charset=utf-8`),
    '/api/ps': (state) => json(200, {
      models: state.models.map((model) => {
        const { modified_at: unused, ...loaded } = ollamaModel(state, model);
        return {
          ...loaded,
          expires_at: new Date(Date.now() + 300_000).toISOString(),
          size_vram: 2019393189,
          context_length: CONTEXT,
        };
      }),
    }, `${JSON_TYPE}; charset=utf-8`),
    '/v1/models': (state) => json(200, {
      object: 'list',
      data: state.models.map((model) => ({
        id: ollamaName(model.name), object: 'model', created: state.created, owned_by: 'library',
      })),
    }),
  },
};

const llamacpp = {
  server: 'llama.cpp',
  slots: 4,
  inference: [...ALL_KINDS, ...RANKING, '/chat/completions', '/completions', '/embeddings'],
  // A llama.cpp server with one model answers with that one, whatever name was asked for. Only
  // with several (its router mode) does it look at the name.
  find: (models, name) =>
    (models.length === 1 ? models[0] : models.find((model) => model.name === name)),
  error(state, status, message) {
    const types = { 404: 'not_found_error', 500: 'server_error', 503: 'unavailable_error' };
    return json(status, {
      error: { code: status, message, type: types[status] ?? 'invalid_request_error' },
    }, `${JSON_TYPE}; charset=utf-8`);
  },
  unknownModel: (state, name) => llamacpp.error(state, 400, `model '${name}' not found`),
  notFound: (state) => llamacpp.error(state, 404, 'File Not Found'),
  probes: {
    '/health': () => json(200, { status: 'ok' }),
    '/v1/health': () => json(200, { status: 'ok' }),
    '/slots': (state) => json(200, Array.from({ length: state.slots }, (_, id) => ({
      id,
      id_task: id < state.running ? state.total - state.running + id : -1,
      n_ctx: CONTEXT,
      speculative: false,
      is_processing: id < state.running,
      params: { n_predict: -1, temperature: 0.8, top_k: 40, stream: true },
      prompt: '',
      next_token: { has_next_token: id < state.running, has_new_line: false, n_remain: -1,
        n_decoded: 0 },
    }))),
    '/props': (state) => json(200, {
      default_generation_settings: { n_ctx: CONTEXT, params: { n_predict: -1, top_k: 40 } },
      total_slots: state.slots,
      model_path: `/models/${state.models[0].name}.gguf`,
      chat_template: '{{ messages }}',
      modalities: { vision: false, audio: false },
      build_info: state.dialect === 'old' ? 'b4800-1a2b3c4d' : 'b7000-1a2b3c4d',
    }),
    '/metrics': (state) => text(200, [
      gauge('llamacpp', 'requests_processing', 'Number of requests processing.', state.running),
      gauge('llamacpp', 'requests_deferred', 'Number of requests deferred.', state.waiting),
      ...(state.dialect === 'old' ? [
        gauge('llamacpp', 'kv_cache_usage_ratio', 'KV-cache usage. 1 means 100 percent usage.',
          cacheUse(state)),
        gauge('llamacpp', 'kv_cache_tokens', 'KV-cache tokens.',
          Math.round(cacheUse(state) * CONTEXT * state.slots)),
      ] : []),
    ].join(''), PROMETHEUS_TYPE),
    '/v1/models': (state) => json(200, {
      models: state.models.map((model) => ({ name: model.name, model: model.name })),
      object: 'list',
      data: state.models.map((model) => ({
        id: model.name,
        object: 'model',
        created: state.created,
        owned_by: 'llamacpp',
        meta: { vocab_type: 2, n_vocab: 128256, n_ctx_train: 131072, n_embd: 3072,
          n_params: 3212749888, size: 2011539712 },
      })),
    }),
  },
};

const openai = {
  server: null,
  slots: 256,
  inference: [...ALL_KINDS, ...RANKING, ...SCORING, ...MEDIA, '/v1/moderations', '/v1/own/thing'],
  find: (models, name) => models.find((model) => model.name === name),
  error(state, status, message, code = null) {
    const types = { 429: 'requests', 500: 'server_error', 503: 'server_error' };
    return json(status, {
      error: { message, type: types[status] ?? 'invalid_request_error', param: null, code },
    });
  },
  unknownModel: (state, name) => openai.error(state, 404,
    `The model \`${name}\` does not exist or you do not have access to it.`, 'model_not_found'),
  notFound: (state, method, path) =>
    openai.error(state, 404, `Invalid URL (${method} ${path})`),
  probes: {
    '/v1/models': (state) => json(200, {
      object: 'list',
      data: state.models.map((model) => ({
        id: model.name, object: 'model', created: state.created, owned_by: 'standin',
      })),
    }),
  },
};

export const kinds = { vllm, ollama, llamacpp, openai };
