// The counts of the visitor's cart, which the header and the product view show.

import { api, body, Failure, type LineDetails } from './api.js';

const counts = new Map<number, number>();
/** Whether the counts are those of the API. */
let isLoaded = false;
/** The number of changes by this page: a response from before a change is out of date. */
let changes = 0;
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

/** Replaces the counts by those of the lines. */
export function replace(lines: { sku_id: number; count: number }[]): void {
  isLoaded = true;
  counts.clear();
  for (const { sku_id, count } of lines) counts.set(sku_id, count);
  for (const listener of listeners) listener();
}

/** Sets the count of a line; 0 removes it. */
export function note(sku: number, count: number): void {
  changes += 1;
  if (count > 0) counts.set(sku, count);
  else counts.delete(sku);
  for (const listener of listeners) listener();
}

/** Reads the counts. */
export async function load(): Promise<void> {
  const before = changes;
  const lines = await body(api.GET('/cart'));
  if (changes === before) replace(lines);
}

/**
 * Adds to the cart. A POST that failed on its way may still have succeeded, so the cart is read before it counts as
 * failed. That needs the count from before.
 */
export async function add(sku: number, count: number): Promise<void> {
  if (!isLoaded) await load().catch(() => undefined);
  const isKnown = isLoaded;
  const before = inCart(sku);
  try {
    await body(api.POST('/cart', { body: { sku_id: sku, count }, parseAs: 'text' }));
  } catch (failure) {
    if (!isKnown || !(failure instanceof Failure) || ![0, 502, 503, 504].includes(failure.status)) throw failure;
    await load().catch(() => {
      throw failure;
    });
    if (inCart(sku) < before + count) throw failure;
    return;
  }
  note(sku, before + count);
}

/** Sets the count of a line. It may be repeated. */
export async function set(sku: number, count: number): Promise<void> {
  await body(api.PUT('/cart/{sku_id}', { params: { path: { sku_id: sku } }, body: { count } }));
  note(sku, count);
}

/** Removes all lines. */
export async function empty(): Promise<void> {
  await body(api.DELETE('/cart'));
  replace([]);
}

/** Reads the lines with their products. */
export async function lines(signal: AbortSignal): Promise<LineDetails[]> {
  const details = await body(api.GET('/cart/lines', { signal }));
  replace(details);
  return details;
}
