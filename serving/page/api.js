// Calls of the service. Every failure becomes an ApiError with a code that the page has words for.

let apiKey = null;

export function setApiKey(key) {
  apiKey = key;
}

class ApiError extends Error {
  constructor(code, message, { status = 0, fields = [], traceId = null } = {}) {
    super(message);
    this.code = code;
    this.status = status;
    this.fields = fields;
    this.traceId = traceId;
  }
}

async function call(method, path, { body = null, signal = null } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== null) headers["Content-Type"] = "application/json";
  if (apiKey !== null) headers["X-API-Key"] = apiKey;
  let response;
  try {
    response = await fetch(path, { method, headers, signal, body: body === null ? null : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("offline", error.message);
  }
  const answer = await response.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    return null;
  });
  if (response.ok && answer !== null) return answer;
  const { code = "internal", message = response.statusText, fields = [] } = answer?.error ?? {};
  throw new ApiError(code, message, { status: response.status, fields, traceId: answer?.trace_id ?? null });
}

const query = (values) => new URLSearchParams(values).toString();
const part = encodeURIComponent;

export const info = () => call("GET", "/v1/info");
export const recommendations = (body, signal) => call("POST", "/v1/recommendations", { body, signal });
export const tradeOffs = (body, signal) => call("POST", "/v1/trade-offs", { body, signal });
export const explain = (body, signal) => call("POST", "/v1/explain", { body, signal });
export const addEvent = (body) => call("POST", "/v1/events", { body });
export const undoEvent = (id) => call("DELETE", `/v1/events/${part(id)}`);
export const users = (text, signal) => call("GET", `/v1/users?${query({ query: text, limit: 20 })}`, { signal });
export const movies = (text, signal) => call("GET", `/v1/movies?${query({ query: text, limit: 8 })}`, { signal });

/** All events of a user, latest first. */
export async function history(user, signal) {
  const events = [];
  for (;;) {
    const page = query({ limit: 100, offset: events.length });
    const answer = await call("GET", `/v1/users/${part(user)}/history?${page}`, { signal });
    events.push(...answer.events);
    if (events.length >= answer.total || answer.events.length === 0) return events;
  }
}

/** Runs one task at a time: a new one aborts the one before, whose answer is dropped. */
export class Latest {
  #controller = null;

  /** Result of `task(signal)`; undefined where a later call has taken over. */
  async run(task) {
    this.cancel();
    const controller = new AbortController();
    this.#controller = controller;
    try {
      const result = await task(controller.signal);
      return controller.signal.aborted ? undefined : result;
    } catch (error) {
      if (controller.signal.aborted) return undefined;
      throw error;
    }
  }

  cancel() {
    this.#controller?.abort();
    this.#controller = null;
  }
}
