// A product: its photos, styles, sizes, features, and related products.

import * as address from '../address.js';
import { api, body, cards, type Overview } from '../api.js';
import { h } from '../dom.js';
import { chooseStyle, relatedIds } from '../stock.js';
import { BuyBox } from './buy.js';
import { Gallery } from './gallery.js';
import { bar, cardItem, skeletonCards, type View } from './parts.js';

/** Few enough for one request that the load balancer does not limit. */
const MAX_RELATED = 12;

export function productSkeleton(): HTMLElement {
  return h(
    'div',
    { class: 'product', 'aria-hidden': 'true' },
    h('p', { class: 'trail' }, bar('short')),
    h(
      'div',
      { class: 'gallery' },
      h(
        'ul',
        { class: 'thumbnails' },
        Array.from({ length: 4 }, () => h('li', { class: 'thumbnail bone' })),
      ),
      h('div', { class: 'frame' }, h('div', { class: 'stage bone' })),
    ),
    h(
      'div',
      { class: 'side' },
      h(
        'div',
        { class: 'buy' },
        bar('short'),
        bar('title'),
        bar('long'),
        bar('medium'),
        h('div', { class: 'bone bone-block' }),
      ),
    ),
  );
}

/** Reads a product and shows it. `styleChosen` is called with each style that the visitor chooses. */
export async function productView(
  id: number,
  styleId: number | null,
  signal: AbortSignal,
  styleChosen: (id: number) => void,
): Promise<View> {
  // The browser's copy may be minutes old. This price is at most as old as that of a cache in front of the API.
  const overview = await body(
    api.GET('/products/{product_id}/overview', { params: { path: { product_id: id } }, cache: 'no-cache', signal }),
  );
  const { product, styles, related } = overview;
  const style = chooseStyle(styles.results, styleId);
  let photos = new Gallery(product.name, style);
  const buy = new BuyBox(overview, style, signal, (chosen) => {
    const next = new Gallery(product.name, chosen);
    photos.node.replaceWith(next.node);
    photos = next;
    styleChosen(chosen.style_id);
  });
  const node = h(
    'article',
    { class: 'product' },
    h(
      'nav',
      { class: 'trail', 'aria-label': 'Breadcrumb' },
      h('a', { href: address.list() }, 'The collection'),
      h('span', { 'aria-hidden': 'true' }, '/'),
      h('a', { href: address.list(product.category) }, product.category),
    ),
    photos.node,
    h('div', { class: 'side' }, buy.node),
    about(product),
    relatedSection(relatedIds(related, product.id, MAX_RELATED), signal),
  );
  return { title: product.name, node, summary: product.name };
}

function about(product: Overview['product']): HTMLElement | null {
  if (product.description === '' && product.features.length === 0) return null;
  const value = (text: string | null) => (text === null || text.trim() === '' || text === 'null' ? 'Included' : text);
  return h(
    'section',
    { class: 'about', 'aria-labelledby': 'about' },
    h('h2', { id: 'about' }, 'About this piece'),
    product.description === '' ? null : h('p', {}, product.description),
    product.features.length === 0
      ? null
      : h(
          'dl',
          { class: 'features' },
          product.features.map((of) => h('div', {}, h('dt', {}, of.feature), h('dd', {}, value(of.value)))),
        ),
  );
}

function relatedSection(ids: number[], signal: AbortSignal): HTMLElement | null {
  if (ids.length === 0) return null;
  const row = h('ul', { class: 'row' });
  const section = h(
    'section',
    { class: 'related', 'aria-labelledby': 'related' },
    h('h2', { id: 'related' }, 'Goes well with it'),
    row,
  );
  const load = async () => {
    row.setAttribute('aria-busy', 'true');
    row.replaceChildren(...skeletonCards(Math.min(ids.length, 5)));
    try {
      const list = await cards(ids, signal);
      if (list.length === 0) section.remove();
      else row.replaceChildren(...list.map((card) => cardItem(card, 'h3')));
    } catch {
      if (signal.aborted) return;
      row.replaceChildren(
        h(
          'li',
          { class: 'row-problem' },
          'These pieces could not be loaded. ',
          h('button', { class: 'link', type: 'button', click: () => void retry() }, 'Try again'),
        ),
      );
    } finally {
      row.removeAttribute('aria-busy');
    }
  };
  const retry = async () => {
    await load();
    // The button is gone, and the focus with it.
    if (document.activeElement === document.body) row.querySelector<HTMLElement>('a, button')?.focus();
  };
  void load();
  return section;
}
