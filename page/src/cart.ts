// The counts of the visitor's cart, which the header and the product view show.

import { api, body, Failure, type LineDetails } from './api.js';

/** The counts as the API last confirmed them. */
const counts = new Map<number, number>();
let isLoaded = false;
const listeners = new Set<() => void>();

/** Calls a function whenever the counts change, until the signal aborts. */
export function onChange(listener: () => void, signal?: AbortSignal): void {
  listeners.add(listener);
  signal?.addEventListener('abort', () => listeners.delete(listener));
}

/** Returns the number of pieces of a sku. */
export const inCart = (sku: number): number => counts.get(sku) ?? 0;

/** Returns the number of all pieces. */
export const total = (): number => [...counts.values()].reduce((sum, count) => sum + count, 0);

let queue: Promise<unknown> = Promise.resolve();

/**
 * Runs requests of the cart one after the other. Two additions at once of a new visitor would make two carts, and a
 * read at the same time as a change may show the cart from before it.
 */
function inTurn<T>(run: () => Promise<T>): Promise<T> {
  const result = queue.then(run);
  queue = result.catch(() => undefined);
  return result;
}

/** The channel to other windows with the same cart; null if the browser keeps nothing for this site. */
const windows = channel();

function channel(): BroadcastChannel | null {
  try {
    return new BroadcastChannel('atelier-cart');
  } catch {
    return null; // Firefox without cookies
  }
}

/** Calls a function whenever another window may have changed the cart. */
export function onChangeElsewhere(listener: () => void): void {
  windows?.addEventListener('message', listener);
}

/** Runs a request that changes the cart, in turn, and tells the other windows, even if no response came. */
const change = <T>(run: () => Promise<T>): Promise<T> => inTurn(() => run().finally(() => windows?.postMessage(null)));

/** Replaces the counts by those of the lines. */
function replace(lines: { sku_id: number; count: number }[]): void {
  isLoaded = true;
  counts.clear();
  for (const { sku_id, count } of lines) counts.set(sku_id, count);
  for (const listener of listeners) listener();
}

/** Sets the count of a line; 0 removes it. */
function note(sku: number, count: number): void {
  if (count > 0) counts.set(sku, count);
  else counts.delete(sku);
  for (const listener of listeners) listener();
}

const read = async () => replace(await body(api.GET('/cart')));

/** Reads the counts. Returns whether they differ from those before. */
export const load = (): Promise<boolean> =>
  inTurn(async () => {
    const before = new Map(counts);
    // If the read fails, the next addition reads first.
    isLoaded = false;
    await read();
    return before.size !== counts.size || [...before].some(([sku, count]) => count !== inCart(sku));
  });

/**
 * Adds to the cart. A POST that failed on its way may still have succeeded, so the cart is read before it counts as
 * failed. That needs the count from before.
 */
export const add = (sku: number, count: number): Promise<void> =>
  change(async () => {
    if (!isLoaded) await read().catch(() => undefined);
    const isKnown = isLoaded;
    const before = inCart(sku);
    try {
      await body(api.POST('/cart', { body: { sku_id: sku, count }, parseAs: 'text' }));
    } catch (failure) {
      if (!isKnown || !(failure instanceof Failure) || ![0, 502, 503, 504].includes(failure.status)) throw failure;
      await read().catch(() => {
        throw failure;
      });
      if (inCart(sku) < before + count) throw failure;
      return;
    }
    note(sku, before + count);
  });

/** Sets the count of a line, which `latest` returns when the request's turn comes. Returns whether that changed it. */
export const set = (sku: number, latest: () => number): Promise<boolean> =>
  change(async () => {
    const count = latest();
    if (count === inCart(sku)) return false;
    await body(api.PUT('/cart/{sku_id}', { params: { path: { sku_id: sku } }, body: { count } }));
    note(sku, count);
    return true;
  });

/** Removes all lines. */
export const empty = (): Promise<void> =>
  change(async () => {
    await body(api.DELETE('/cart'));
    replace([]);
  });

/** Reads the lines with their products. */
export const lines = (signal: AbortSignal): Promise<LineDetails[]> =>
  inTurn(async () => {
    const details = await body(api.GET('/cart/lines', { signal }));
    replace(details);
    return details;
  });
