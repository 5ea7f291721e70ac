// Parts that several views have.

import * as address from '../address.js';
import { Failure, setting, type Card } from '../api.js';
import { announce, h, hidden, icon } from '../dom.js';
import { count, discount, formatter, price, type Prices } from '../money.js';
import { picture } from '../pictures.js';

export interface View {
  /** The title of the document, before the name of the shop; empty for the start page. */
  title: string;
  node: Node;
  /** The announcement when the view replaces another one. */
  summary: string;
  /** Runs once the node is in the document. */
  placed?: () => void;
}

export const money = formatter(setting('currency'));

/** Creates a price, with the regular one struck through if it is on sale. */
export function priceTag(prices: Prices): HTMLElement {
  const { now, before } = price(prices);
  if (now === null) return h('p', { class: 'price' }, 'Price on request');
  if (before === null) return h('p', { class: 'price' }, money(now));
  return h(
    'p',
    { class: 'price is-sale' },
    h('span', {}, hidden('Sale price '), money(now)),
    ' ',
    h('s', {}, hidden('Regular price '), money(before)),
    ' ',
    h('span', { class: 'discount' }, `−${discount(now, before)}%`),
  );
}

/** Creates the card of a product for lists and rows. */
export function cardItem(card: Card, level: 'h2' | 'h3', isEager = false): HTMLElement {
  return h(
    'li',
    { class: card.in_stock ? 'card' : 'card is-sold-out' },
    h(
      'div',
      { class: 'card-picture' },
      picture({
        url: card.thumbnail_url,
        label: '',
        style: null,
        name: card.name,
        widths: [300, 450, 600],
        sizes: '(min-width: 60rem) 15rem, 45vw',
        isEager,
      }),
      card.in_stock ? null : h('span', { class: 'flag' }, 'Sold out'),
    ),
    h('p', { class: 'label' }, card.category),
    h(level, { class: 'card-name' }, h('a', { href: address.product(card.id) }, card.name)),
    priceTag(card),
  );
}

export function bar(width: 'short' | 'medium' | 'long' | 'title'): HTMLElement {
  return h('span', { class: `bone bone-${width}` });
}

export function skeletonCards(n: number): HTMLElement[] {
  return Array.from({ length: n }, () =>
    h('li', { class: 'card' }, h('div', { class: 'card-picture bone' }), bar('short'), bar('long'), bar('medium')),
  );
}

export function cartSkeleton(): HTMLElement {
  return h(
    'div',
    { class: 'cart' },
    h(
      'div',
      { class: 'cart-head' },
      h('h1', { class: 'headline' }, 'Your cart'),
      h('span', { class: 'link' }, '\u00a0'),
    ),
    h(
      'div',
      { class: 'lines', 'aria-hidden': 'true' },
      Array.from({ length: 2 }, () =>
        h(
          'div',
          { class: 'line' },
          h('div', { class: 'line-picture bone' }),
          h('div', { class: 'line-text' }, bar('long'), bar('short')),
        ),
      ),
    ),
  );
}

/** Creates a full-page state: nothing found, an empty cart, a failure. */
export function state(mark: string, title: string, text: string, ...actions: (Node | null)[]): HTMLElement {
  return h(
    'div',
    { class: 'state' },
    h('p', { class: 'state-mark', 'aria-hidden': 'true' }, mark),
    h('h1', {}, title),
    h('p', { class: 'state-text' }, text),
    h('div', { class: 'actions' }, actions),
  );
}

export function unknownProduct(): View {
  const title = 'We do not have this piece';
  const node = state(
    '404',
    title,
    'It may have been sold for good, or the address may be mistyped.',
    h('a', { class: 'button', href: address.list() }, 'See the collection'),
  );
  return { title, node, summary: title };
}

/** Creates the view of a failed request. */
export function failed(error: unknown, retry: () => void): View {
  const failure = error instanceof Failure ? error : new Failure(-1, 'The page has an error.');
  const { status, message, requestId } = failure;
  const title = status === 0 ? 'No connection' : failure.isTemporary ? 'One moment, please' : 'Something went wrong';
  const node = state(
    status > 0 ? String(status) : '!',
    title,
    message,
    h('button', { class: 'button', type: 'button', click: retry }, 'Try again'),
    h('a', { class: 'button is-quiet', href: address.list() }, 'See the collection'),
  );
  if (requestId !== null) node.append(h('p', { class: 'small' }, `Request ${requestId}`));
  return { title, node, summary: `${title}. ${message}` };
}

export interface Stepper {
  node: HTMLElement;
  /** Says why the last choice was corrected; else it is empty. Belongs next to the node. */
  note: HTMLElement;
  value(): number;
  /** Sets the value and the max. With a max below 1, the stepper is disabled. */
  set(value: number, max: number): void;
}

/**
 * Creates a field for a number of pieces, at least one, with buttons. `limit` says why there can be no more than the max.
 * `changed` is called with each new value.
 */
export function stepper(
  label: string,
  limit: (max: number) => string,
  changed: (value: number) => void = () => undefined,
): Stepper {
  let value = 1;
  let max = 1;
  const note = h('p', { class: 'limit' });
  const field = h('input', {
    type: 'number',
    inputmode: 'numeric',
    min: 1,
    'aria-label': label,
    input: () => note.replaceChildren(),
    change: () => choose(field.valueAsNumber),
  });
  const less = h(
    'button',
    { type: 'button', 'aria-label': `${label}: one less`, click: () => value > 1 && choose(value - 1) },
    icon('minus'),
  );
  const more = h(
    'button',
    {
      type: 'button',
      'aria-label': `${label}: one more`,
      click: () => value <= max && choose(value + 1),
    },
    icon('plus'),
  );
  const draw = () => {
    const isOff = max < 1;
    field.value = String(value);
    field.max = String(max);
    field.disabled = isOff;
    // A disabled button would lose the focus, so the keyboard's user would have to start again.
    less.setAttribute('aria-disabled', String(isOff || value <= 1));
    more.setAttribute('aria-disabled', String(isOff || value >= max));
  };
  const choose = (wanted: number) => {
    if (max < 1) return;
    // An empty field is NaN.
    const next = Number.isNaN(wanted) ? value : Math.min(Math.max(Math.trunc(wanted), 1), max);
    const whole = `Use a whole number from 1 to ${count(max)}.`;
    note.textContent = next === wanted ? '' : wanted > max ? limit(max) : whole;
    if (note.textContent !== '') announce(note.textContent);
    if (next === value) {
      draw();
      return;
    }
    value = next;
    draw();
    changed(value);
  };
  draw();
  return {
    node: h('div', { class: 'stepper', role: 'group', 'aria-label': label }, less, field, more),
    note,
    value: () => value,
    set: (newValue, newMax) => {
      value = newValue;
      max = newMax;
      draw();
    },
  };
}
