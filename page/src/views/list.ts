// The list: all products, a category, or the results of a search.

import * as address from '../address.js';
import { api, body, cards, dataAndResponse, type Card, type Schemas } from '../api.js';
import { h, hidden, icon } from '../dom.js';
import { count, pieces } from '../money.js';
import { cardItem, skeletonCards, state, type View } from './parts.js';

type ListRoute = Extract<address.Route, { view: 'list' }>;

/** The load balancer limits requests for more cards than this. It fills rows of two, three and four. */
const PAGE_SIZE = 24;
/** The max number of results of a search. */
const MAX_FOUND = 20;
/** The max number of characters of a search or a category in headings. */
const MAX_SHOWN = 60;

/** The categories as they were last read, which the next list shows until it has read them. */
let categories: Schemas['CategoryList'] | null = null;

/** Creates the view before the responses arrive. Its heading is known already, so the largest text does not wait for them. */
export function listSkeleton(route: ListRoute): HTMLElement {
  return h(
    'div',
    { class: 'list' },
    heading(
      h('h1', { class: 'headline' }, titleOf(route)),
      h('p', { class: 'range' }, hidden('Loading')),
      isStart(route),
    ),
    categories === null ? navSkeleton() : nav(route),
    h('ul', { class: 'grid', 'aria-hidden': 'true' }, skeletonCards(PAGE_SIZE)),
  );
}

const titleOf = (route: ListRoute): string =>
  route.q !== '' ? `“${clipped(route.q)}”` : clipped(route.category) || 'The collection';

/** Returns the start of a long text: an address can have any. */
function clipped(text: string): string {
  const characters = [...text];
  return characters.length <= MAX_SHOWN ? text : `${characters.slice(0, MAX_SHOWN).join('')}…`;
}

export async function listView(route: ListRoute, signal: AbortSignal): Promise<View> {
  // Each list reads them, because the catalog may be another one. They do not delay the products.
  const reading = body(api.GET('/categories', { signal })).then(
    (all) => {
      categories = all;
    },
    () => undefined,
  );
  const { total, list, note } = await (route.q === '' ? page(route, signal) : found(route.q, signal));
  const title = titleOf(route);

  const last = total === null ? null : Math.max(1, Math.ceil(total / PAGE_SIZE));
  const from = (route.page - 1) * PAGE_SIZE + 1;
  const range =
    total === null || list.length === 0 ? '' : `${count(from)}–${count(from + list.length - 1)} of ${pieces(total)}`;
  const summary = list.length === 0 ? '' : (note ?? range);
  const content =
    list.length === 0
      ? nothing(route)
      : h(
          'div',
          {},
          h(
            'ul',
            { class: 'grid' },
            list.map((card, i) => cardItem(card, 'h2', i < 4)),
          ),
          last === null || last === 1 ? null : pager(route, last),
        );
  let shownNav = categories === null ? navSkeleton() : nav(route);
  void reading.then(() => {
    const next = nav(route);
    // New links would drop the focus of one of the old ones.
    if (signal.aborted || next.isEqualNode(shownNav) || shownNav.contains(document.activeElement)) return;
    shownNav.replaceWith(next);
    shownNav = next;
    scrollToCurrent(next);
  });
  const node = h(
    'div',
    { class: 'list' },
    list.length === 0
      ? null
      : heading(h('h1', { class: 'headline' }, title), h('p', { class: 'range' }, summary), isStart(route)),
    shownNav,
    content,
  );
  const pageTitle = route.page > 1 ? `page ${count(route.page)}` : '';
  return {
    title: isStart(route) ? '' : [title, pageTitle].filter(Boolean).join(', '),
    node,
    summary: list.length === 0 ? 'Nothing found' : [title, pageTitle, summary].filter(Boolean).join(', '),
    placed: () => scrollToCurrent(shownNav),
  };
}

interface Result {
  total: number | null;
  list: Card[];
  note?: string;
}

async function page(route: ListRoute, signal: AbortSignal): Promise<Result> {
  const query = { page: route.page, count: PAGE_SIZE };
  if (route.category === '') {
    const { data, response } = await dataAndResponse(api.GET('/cards', { params: { query }, signal }));
    return { total: totalOf(response), list: data };
  }
  const products = await dataAndResponse(
    api.GET('/products', { params: { query: { ...query, category: route.category } }, signal }),
  );
  const list = await cards(
    products.data.map((product) => product.id),
    signal,
  );
  return { total: totalOf(products.response), list };
}

async function found(q: string, signal: AbortSignal): Promise<Result> {
  const { words, isShortened } = address.searchWords(q);
  if (words.length === 0) return { total: 0, list: [] };
  const products = await body(api.GET('/products', { params: { query: { q: words.join(' ') } }, signal }));
  const list = await cards(
    products.map((product) => product.id),
    signal,
  );
  const found =
    list.length === MAX_FOUND
      ? `The first ${MAX_FOUND} matches; another word narrows them`
      : `${pieces(list.length)} found`;
  return { total: list.length, list, note: isShortened ? `${found}. Searched for: ${words.join(' ')}` : found };
}

function totalOf(response: Response): number | null {
  const text = response.headers.get('x-total-count');
  return text !== null && /^[0-9]+$/.test(text) ? Number(text) : null;
}

const isStart = (route: ListRoute): boolean => route.category === '' && route.q === '' && route.page === 1;

function heading(title: Node, range: Node, hasIntroduction: boolean): HTMLElement {
  if (!hasIntroduction) return h('div', { class: 'list-head' }, title, range);
  return h(
    'div',
    { class: 'list-head intro' },
    h(
      'div',
      {},
      title,
      h('p', { class: 'lead' }, 'Clothes, shoes and accessories, made in small runs and kept for years.'),
      range,
    ),
    h(
      'div',
      { class: 'swatches', 'aria-hidden': 'true' },
      ['twill', 'gingham', 'herringbone', 'birdseye', 'pinstripe', 'windowpane'].map((weave) =>
        h('div', { class: `cloth ${weave}` }),
      ),
    ),
  );
}

function nav(route: ListRoute): HTMLElement {
  const item = (name: string, href: string, isCurrent: boolean, n: number) =>
    h(
      'li',
      {},
      h(
        'a',
        { href, 'aria-current': isCurrent ? 'page' : null },
        h('span', {}, name),
        ' ',
        h('span', { class: 'n' }, count(n), hidden(n === 1 ? ' piece' : ' pieces')),
      ),
    );
  const all = categories ?? [];
  // They could not be read, or there are none. On wide screens their column stays.
  if (all.length === 0) return h('div', { class: 'categories' });
  const sum = all.reduce((sum, { products }) => sum + products, 0);
  return h(
    'nav',
    { class: 'categories', 'aria-label': 'Categories' },
    h('p', { class: 'label' }, 'Categories'),
    h(
      'ul',
      {},
      item('Everything', address.list(), route.category === '' && route.q === '', sum),
      all.map(({ category, products }) =>
        item(category, address.list(category), category === route.category, products),
      ),
    ),
  );
}

/** Holds the place of the categories until they are known. */
function navSkeleton(): HTMLElement {
  return h(
    'div',
    { class: 'categories', 'aria-hidden': 'true' },
    h(
      'div',
      { class: 'category-bones' },
      Array.from({ length: 14 }, () => h('span', { class: 'bone' })),
    ),
  );
}

/** Scrolls the row of narrow screens or the column of wide ones to the current category. scrollIntoView would move the page too. */
function scrollToCurrent(nav: HTMLElement): void {
  const current = nav.querySelector<HTMLElement>('[aria-current]');
  const row = current?.closest('ul');
  if (!current || !row) return;
  const { left, top, height } = current.getBoundingClientRect();
  row.scrollLeft += left - row.getBoundingClientRect().left - parseFloat(getComputedStyle(row).paddingLeft);
  nav.scrollTop += top - nav.getBoundingClientRect().top - (nav.clientHeight - height) / 2;
}

function nothing(route: ListRoute): HTMLElement {
  const everything = h('a', { class: 'button', href: address.list() }, 'See the collection');
  if (route.q !== '') {
    const hint = 'The search finds names by the beginnings of their words.';
    const { words, hasLongWord } = address.searchWords(route.q);
    if (words.length > 0) {
      const title = `Nothing is called “${clipped(route.q)}”`;
      return state('0', title, `${hint} Try fewer words, or only their first letters.`, everything);
    }
    return hasLongWord
      ? state('abc', 'This word is too long', `${hint} Give it at most 64 letters of a word.`, everything)
      : state('abc', 'Three letters, at least', `${hint} Give it three letters or more.`, everything);
  }
  if (route.page > 1) {
    return state(
      '0',
      `There is no page ${count(route.page)}`,
      'The list is shorter than that.',
      h('a', { class: 'button', href: address.list(route.category) }, 'Go to the first page'),
    );
  }
  return route.category === ''
    ? state('0', 'The shelves are empty', 'The catalog has no products yet. Come back soon.')
    : state('0', `Nothing in “${clipped(route.category)}”`, 'The catalog has no such category.', everything);
}

function pager(route: ListRoute, last: number): HTMLElement {
  const step = (
    page: number,
    name: string,
    glyph: 'first' | 'left' | 'right' | 'last',
    rel: string | null,
    isOn: boolean,
  ) => {
    const icons =
      glyph === 'first' || glyph === 'left' ? [icon(glyph), h('span', {}, name)] : [h('span', {}, name), icon(glyph)];
    return isOn
      ? h('a', { class: 'step', href: address.list(route.category, page), rel, 'aria-label': `${name} page` }, icons)
      : h('span', { class: 'step is-off', 'aria-hidden': 'true' }, icons);
  };
  return h(
    'nav',
    { class: 'pager', 'aria-label': 'Pages' },
    step(1, 'First', 'first', null, route.page > 1),
    step(route.page - 1, 'Previous', 'left', 'prev', route.page > 1),
    h('span', { class: 'here' }, `Page ${count(route.page)} of ${count(last)}`),
    step(route.page + 1, 'Next', 'right', 'next', route.page < last),
    step(last, 'Last', 'last', null, route.page < last),
  );
}
