// The API, with the types of openapi.json. Requests that may be repeated are repeated once after Retry-After.

import createClient from 'openapi-fetch';
import type { components, paths } from '../out/openapi.js';

export type Schemas = components['schemas'];
export type Card = Schemas['Card'];
export type Style = Schemas['Style'];
export type Overview = Schemas['Overview'];
export type LineDetails = Schemas['CartLineDetails'];

/** A response that is not a success; `status` is 0 if there was none in time. */
export class Failure extends Error {
  constructor(
    readonly status: number,
    detail: string,
    readonly requestId: string | null = null,
  ) {
    super(detail);
  }

  /** Whether the same request may succeed in a moment. */
  get isTemporary(): boolean {
    return [429, 502, 503, 504].includes(this.status);
  }
}

/** Says why an action failed, and to try again if that can help. */
export function problemText(what: string, error: unknown): string {
  if (!(error instanceof Failure)) {
    console.error(error);
    return `${what}: the page has an error.`;
  }
  const advice = error.isTemporary ? ' Try again.' : error.status >= 500 ? ' Try again later.' : '';
  return `${what}: ${error.message}${advice}`;
}

const MAX_WAIT_SECONDS = 5;
const TIMEOUT_MS = 15_000;

/** Returns the content of a meta element of index.html. */
export function setting(name: string): string {
  return document.querySelector<HTMLMetaElement>(`meta[name="${name}"]`)?.content.trim() ?? '';
}

// openapi-fetch appends a path, which begins with a slash.
const base = new URL(setting('api') || './', document.baseURI);
const baseUrl = base.href.replace(/\/$/, '');
const authorization = base.origin === location.origin ? null : visitor();

export const api = createClient<paths>({ baseUrl, fetch: send });

/** Returns the random text that identifies the visitor's cart to an API of another origin, which cannot use the cookie. */
function visitor(): string {
  const key = 'atelier-visitor';
  try {
    const known = localStorage.getItem(key);
    if (known !== null) return known;
  } catch {
    // Storage is off: the cart lasts until the page is closed.
  }
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const token = `visitor ${[...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
  try {
    localStorage.setItem(key, token);
  } catch {
    // As above.
  }
  return token;
}

async function send(request: Request): Promise<Response> {
  // With this header, each new address costs a CORS preflight, so the catalog is read without it.
  if (authorization !== null && request.url.startsWith(`${baseUrl}/cart`)) {
    request.headers.set('Authorization', authorization);
  }
  const again = request.clone();
  const response = await attempt(request);
  const seconds = Number(response.headers.get('retry-after') ?? NaN);
  // A 429 means that the request did not run. After the others, a POST may have run.
  const isRepeatable =
    response.status === 429 || ([502, 503, 504].includes(response.status) && request.method !== 'POST');
  if (!isRepeatable || !(seconds >= 0 && seconds <= MAX_WAIT_SECONDS)) return response;
  await pause(seconds * 1000 * (1 + Math.random() / 4), request.signal);
  return attempt(again);
}

/** Fetches with a timeout, which the body is part of. */
function attempt(request: Request): Promise<Response> {
  // Not all supported browsers have AbortSignal.any().
  const controller = new AbortController();
  const abort = () => controller.abort();
  if (request.signal.aborted) abort();
  request.signal.addEventListener('abort', abort);
  setTimeout(abort, TIMEOUT_MS);
  return fetch(request, { signal: controller.signal });
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

/** Returns the data of a response, or throws its problem as a `Failure`. */
export async function body<T>(request: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  return (await dataAndResponse(request)).data;
}

/** The same, with the response for its headers. */
export async function dataAndResponse<T>(
  request: Promise<{ data?: T; error?: unknown; response: Response }>,
): Promise<{ data: T; response: Response }> {
  const { data, error, response } = await request.catch((error: unknown) => {
    // The connection failed, or the request was aborted. A view that aborts its requests ignores their failures.
    const isUnreachable = error instanceof TypeError || error instanceof DOMException;
    throw isUnreachable ? new Failure(0, 'The shop cannot be reached. Check the connection, then try again.') : error;
  });
  if (response.ok) return { data: data as T, response };
  const problem = (typeof error === 'object' && error !== null ? error : {}) as Partial<Schemas['Problem']>;
  throw new Failure(
    response.status,
    problem.detail ?? (response.status >= 500 ? 'The shop has a problem.' : 'The shop rejected the request.'),
    problem.request_id ?? response.headers.get('x-request-id'),
  );
}

/** Returns cards in the order of their ids. Few enough of them are exempt from the load balancer's limit of large pages. */
export async function cards(ids: number[], signal: AbortSignal): Promise<Card[]> {
  if (ids.length === 0) return [];
  return body(api.GET('/cards', { params: { query: { ids: ids.join() } }, signal }));
}
