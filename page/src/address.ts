// The state of the page as its address shows it: `/?product=2&style=3`, `/?category=Boots&page=2`, `/?q=harbour`, `/?cart`.

export type Route =
  | { view: 'list'; category: string; q: string; page: number }
  | { view: 'product'; id: string; style: number | null }
  | { view: 'cart' };

const MAX_ID = 2147483647;

/** Returns the number that the text is, as the API writes ids and pages, or null. */
export function wholeNumber(text: string | null): number | null {
  if (text === null || !/^[1-9][0-9]{0,9}$/.test(text)) return null;
  const number = Number(text);
  return number <= MAX_ID ? number : null;
}

/** Reads the query of an address. Values that cannot be read have their defaults; a search excludes a category. */
export function parse(query: string): Route {
  const values = new URLSearchParams(query);
  if (values.has('cart')) return { view: 'cart' };
  const id = values.get('product');
  if (id !== null) return { view: 'product', id, style: wholeNumber(values.get('style')) };
  const q = (values.get('q') ?? '').trim();
  const category = q === '' ? (values.get('category') ?? '') : '';
  const page = q === '' ? (wholeNumber(values.get('page')) ?? 1) : 1;
  return { view: 'list', category, q, page };
}

/** Writes the query of an address; the start page has none. */
export function format(route: Route): string {
  if (route.view === 'cart') return '?cart';
  const values = new URLSearchParams();
  if (route.view === 'product') {
    values.set('product', route.id);
    if (route.style !== null) values.set('style', String(route.style));
  } else if (route.q !== '') {
    values.set('q', route.q);
  } else {
    if (route.category !== '') values.set('category', route.category);
    if (route.page > 1) values.set('page', String(route.page));
  }
  const query = values.toString();
  return query === '' ? './' : `?${query}`;
}

export const list = (category = '', page = 1): string => format({ view: 'list', category, q: '', page });
export const product = (id: number | string, style: number | null = null): string =>
  format({ view: 'product', id: String(id), style });

/**
 * Returns the words that the API can search for: at most four of three to 64 letters or digits. `isShortened` says that
 * the text has others too, and `hasLongWord` that one is longer.
 */
export function searchWords(text: string): { words: string[]; isShortened: boolean; hasLongWord: boolean } {
  const all = text.match(/[\p{Alphabetic}\p{N}]+/gu) ?? [];
  const words = all.filter((word) => [...word].length >= 3 && [...word].length <= 64).slice(0, 4);
  return { words, isShortened: words.length < all.length, hasLongWord: all.some((word) => [...word].length > 64) };
}
