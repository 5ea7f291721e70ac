// A product: its photos, styles, sizes, features, and related products.

import * as address from '../address.js';
import { api, body, cards, Failure, type Overview, type Style } from '../api.js';
import * as cart from '../cart.js';
import { announce, h, hidden, icon } from '../dom.js';
import { count, pieces } from '../money.js';
import { picture } from '../pictures.js';
import { available, chooseStyle, FEW, relatedIds, sizes, type Size } from '../stock.js';
import { gallery } from './gallery.js';
import { bar, cardItem, priceTag, skeletonCards, stepper, type View } from './parts.js';

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
      { class: 'buy' },
      bar('short'),
      bar('title'),
      bar('long'),
      bar('medium'),
      h('div', { class: 'bone bone-block' }),
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
  // A cache may show the previous catalog for minutes. The open product is revalidated, so its price is right.
  const overview = await body(
    api.GET('/products/{product_id}/overview', { params: { path: { product_id: id } }, cache: 'no-cache', signal }),
  );
  const { product, styles, related } = overview;
  const style = chooseStyle(styles.results, styleId);
  let photos = gallery(product.name, style);
  const buy = buyBox(overview, style, signal, (chosen) => {
    const next = gallery(product.name, chosen);
    photos.replaceWith(next);
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
    photos,
    buy,
    about(product),
    relatedSection(relatedIds(related, product.id, MAX_RELATED), signal),
  );
  return { title: product.name, node, summary: product.name };
}

function buyBox(
  overview: Overview,
  chosen: Style | null,
  signal: AbortSignal,
  styleChosen: (style: Style) => void,
): HTMLElement {
  const { product, styles } = overview;
  let style = chosen;
  let size: Size | null = null;
  let isAdding = false;

  const priceSlot = h('div', { class: 'price-slot' });
  const styleName = h('span', { class: 'chosen' });
  const sizeSlot = h('div', { class: 'size-slot' });
  const problem = h('p', { class: 'problem', id: 'size-problem', hidden: true });
  const stock = h('p', { class: 'stock' });
  const quantity = stepper('Quantity', 1);
  const button = h('button', { class: 'button is-wide', type: 'submit' });
  const outcome = h('div', { class: 'outcome', role: 'status' });

  const all = () => sizes(style);
  const left = (of: Size) => available(of.quantity, cart.inCart(of.sku));
  const isSoldOut = () => all().every(({ quantity }) => quantity === 0);

  const drawSizes = () => {
    const radios = all().map((of) => {
      const isOff = of.quantity === 0;
      return h(
        'label',
        { class: 'pill' },
        h('input', {
          type: 'radio',
          name: 'size',
          value: of.sku,
          class: 'hidden',
          disabled: isOff,
          checked: size?.sku === of.sku,
          change: () => {
            size = of;
            problem.hidden = true;
            outcome.replaceChildren();
            drawStock();
          },
        }),
        h('span', {}, of.size, isOff ? hidden(' sold out') : null),
      );
    });
    sizeSlot.replaceChildren(
      ...(radios.length === 0
        ? []
        : [
            h(
              'fieldset',
              { 'aria-describedby': 'size-problem' },
              h('legend', {}, 'Size'),
              h('div', { class: 'pills' }, radios),
            ),
          ]),
    );
  };

  const drawStock = () => {
    const max = size === null ? 99 : left(size);
    quantity.set(Math.max(1, Math.min(quantity.value(), max)), isSoldOut() ? 0 : max);
    const inCart = size === null ? 0 : cart.inCart(size.sku);
    const texts = [];
    if (isSoldOut())
      texts.push(style === null ? 'This piece is not for sale at the moment.' : 'This style is sold out.');
    else if (size !== null && size.quantity <= FEW) texts.push(`Only ${pieces(size.quantity)} left.`);
    else if (size !== null) texts.push('In stock.');
    if (inCart > 0)
      texts.push(
        max === 0 ? `All that can be had are in your cart: ${count(inCart)}.` : `${count(inCart)} in your cart.`,
      );
    stock.textContent = texts.join(' ');
    stock.classList.toggle('is-few', size !== null && size.quantity <= FEW);
    button.disabled = isSoldOut() || max === 0;
    button.textContent = isAdding ? 'Adding …' : isSoldOut() ? 'Sold out' : 'Add to cart';
  };

  const draw = () => {
    priceSlot.replaceChildren(
      priceTag(style === null ? { ...product, original_price: null, sale_price: null } : style),
    );
    styleName.textContent = style?.name ?? '';
    const sameSize = all().find((of) => of.quantity > 0 && of.size === size?.size);
    const inStock = all().filter((of) => of.quantity > 0);
    size = sameSize ?? (all().length === 1 ? (inStock[0] ?? null) : null);
    drawSizes();
    drawStock();
  };

  const swatches = styles.results.map((of) =>
    h(
      'label',
      { class: 'swatch', title: of.name },
      h('input', {
        type: 'radio',
        name: 'style',
        value: of.style_id,
        class: 'hidden',
        checked: of === style,
        change: () => {
          style = of;
          outcome.replaceChildren();
          problem.hidden = true;
          draw();
          styleChosen(of);
          const n = all().filter(({ quantity }) => quantity > 0).length;
          announce(
            `${of.name}, ${priceSlot.textContent}, ${n === 0 ? 'sold out' : `${n} of ${all().length} sizes in stock`}`,
          );
        },
      }),
      picture({
        url: of.photos[0]?.thumbnail_url ?? null,
        label: '',
        style: of.name,
        name: product.name,
        widths: [100, 200],
        sizes: '4rem',
      }),
      hidden(of.name),
    ),
  );

  const submit = async (event: Event) => {
    event.preventDefault();
    if (isAdding || button.disabled) return;
    if (size === null) {
      problem.textContent = 'Choose a size first.';
      problem.hidden = false;
      announce(problem.textContent);
      sizeSlot.querySelector<HTMLElement>('input:enabled')?.focus();
      return;
    }
    const { sku, size: name } = size;
    const n = quantity.value();
    isAdding = true;
    outcome.replaceChildren();
    drawStock();
    try {
      await cart.add(sku, n);
      quantity.set(1, 1);
      outcome.replaceChildren(
        h(
          'p',
          { class: 'added' },
          icon('check'),
          h('span', {}, `${count(n)} × ${name} added.`),
          ' ',
          h('a', { href: address.format({ view: 'cart' }) }, 'View cart'),
        ),
      );
    } catch (error) {
      outcome.replaceChildren(
        h(
          'p',
          { class: 'problem' },
          'Not added: ',
          error instanceof Failure ? error.message : 'the page has an error.',
          ' Try again.',
        ),
      );
      if (!(error instanceof Failure)) console.error(error);
    } finally {
      isAdding = false;
      drawStock();
      // The focus was on the button, which is disabled after the last piece.
      if (button.disabled) outcome.querySelector('a')?.focus();
    }
  };

  draw();
  cart.onChange(() => drawStock(), signal);
  return h(
    'form',
    { class: 'buy', action: './', novalidate: true, submit },
    h('p', { class: 'label' }, product.category),
    h('h1', {}, product.name),
    product.slogan === '' ? null : h('p', { class: 'slogan' }, product.slogan),
    priceSlot,
    swatches.length === 0
      ? null
      : h(
          'fieldset',
          {},
          h('legend', {}, 'Style', hidden(': '), styleName),
          h('div', { class: 'swatch-row' }, swatches),
        ),
    sizeSlot,
    problem,
    h('div', { class: 'add' }, quantity.node, button),
    stock,
    outcome,
  );
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
  const row = h('ul', { class: 'row', 'aria-busy': 'true' });
  const section = h(
    'section',
    { class: 'related', 'aria-labelledby': 'related' },
    h('h2', { id: 'related' }, 'Goes well with it'),
    row,
  );
  const load = async () => {
    row.replaceChildren(...skeletonCards(Math.min(ids.length, 5)));
    try {
      const list = await cards(ids, signal);
      row.removeAttribute('aria-busy');
      if (list.length === 0) section.remove();
      else row.replaceChildren(...list.map((card) => cardItem(card, 'h3')));
    } catch {
      if (signal.aborted) return;
      row.replaceChildren(
        h(
          'li',
          { class: 'row-problem' },
          'These pieces could not be loaded. ',
          h('button', { class: 'link', type: 'button', click: () => void load() }, 'Try again'),
        ),
      );
    }
  };
  void load();
  return section;
}
