// Sizes and how many pieces of them a visitor can add.

import type { components } from '../out/openapi.js';
import { count } from './money.js';

type Style = components['schemas']['Style'];

/** The max count of one request that adds to a cart, and that of a line. */
export const MAX_ADDITION = 99;
export const MAX_LINE = 9999;

/** Up to this number, the page says how many pieces are left. */
export const FEW = 5;

export interface Size {
  sku: number;
  size: string;
  quantity: number;
}

/**
 * Returns the sizes of a style. The placeholder of a style without skus is not a size. Of equal sizes, those in stock
 * remain, with numbers, or else the first.
 */
export function sizes(style: Pick<Style, 'skus'> | null): Size[] {
  const all = Object.entries(style?.skus ?? {}).flatMap(([key, { size, quantity }]) =>
    /^[1-9][0-9]*$/.test(key) ? [{ sku: Number(key), size: sizeName(size), quantity: quantity ?? 0 }] : [],
  );
  return all.flatMap((one) => {
    const equal = all.filter(({ size }) => size === one.size);
    const inStock = equal.filter(({ quantity }) => quantity > 0);
    const i = (inStock.length > 0 ? inStock : equal.slice(0, 1)).indexOf(one);
    if (i < 0) return [];
    return i === 0 ? [one] : [{ ...one, size: `${one.size} (${i + 1})` }];
  });
}

/** Returns the name of a size. Files write a missing one as the text "null" too. */
export function sizeName(size: string | null): string {
  const name = size?.trim() ?? '';
  return name === '' || name.toLowerCase() === 'null' ? 'One size' : name;
}

/** Returns how many more pieces a visitor can add at once, with those already in the cart. */
export function available(quantity: number, inCart: number): number {
  return Math.max(0, Math.min(quantity - inCart, MAX_ADDITION, MAX_LINE - inCart));
}

/** Says why a quantity can be no more than a max, which `available` or `MAX_LINE` gives. */
export function limitText(max: number, quantity: number, inCart = 0): string {
  if (max < quantity - inCart) return `At most ${count(max)}.`;
  return inCart === 0 ? `Only ${count(max)} in stock.` : `Only ${count(max)} more in stock.`;
}

/** Returns the style that an address names, or else the default, or else the first. */
export function chooseStyle<S extends Pick<Style, 'style_id' | 'default?'>>(styles: S[], id: number | null): S | null {
  return (
    styles.find((style) => style.style_id === id) ?? styles.find((style) => style['default?']) ?? styles[0] ?? null
  );
}

/** Returns the related ids to show: each once, without the product itself. */
export function relatedIds(ids: number[], own: number, max: number): number[] {
  return [...new Set(ids)].filter((id) => id !== own).slice(0, max);
}
