// The cart: its lines with their products, which the visitor can change, remove, and put back.

import * as address from '../address.js';
import { Failure, type LineDetails } from '../api.js';
import * as cart from '../cart.js';
import { announce, h, icon } from '../dom.js';
import { count, pieces, price } from '../money.js';
import { picture } from '../pictures.js';
import { MAX_LINE, sizeName } from '../stock.js';
import { money, priceTag, state, stepper, type View } from './parts.js';

/** The view, which is drawn again whenever a line is removed or put back. */
interface Page {
  root: HTMLElement;
  notice: HTMLElement;
  lines: LineDetails[];
}

export async function cartView(signal: AbortSignal): Promise<View> {
  const lines = await cart.lines(signal);
  const page = { root: h('div', { class: 'cart' }), notice: h('div', { class: 'notice', role: 'status' }), lines };
  draw(page);
  const summary = lines.length === 0 ? 'Your cart is empty' : `Cart, ${pieces(cart.total())}`;
  return { title: 'Cart', node: page.root, summary };
}

function draw(page: Page): void {
  const { root, notice, lines } = page;
  if (lines.length === 0) {
    const link = h('a', { class: 'button', href: address.list() }, 'See the collection');
    const empty = state('0', 'Your cart is empty', 'Add a piece that you like, and it waits here for you.', link);
    empty.querySelector('h1')!.tabIndex = -1;
    root.replaceChildren(notice, empty);
    return;
  }
  const summary = h('div', { class: 'summary' });
  const drawSummary = () => summary.replaceChildren(...summaryParts(lines));
  drawSummary();
  root.replaceChildren(
    h(
      'div',
      { class: 'cart-head' },
      h('h1', { class: 'headline', tabindex: -1 }, 'Your cart'),
      actionButton(page, 'Empty the cart', null, 'Not emptied', async () => {
        await cart.empty();
        offerUndo(page, lines, 'The cart was emptied.');
      }),
    ),
    notice,
    h(
      'ul',
      { class: 'lines' },
      lines.map((line) => lineItem(page, line, drawSummary)),
    ),
    summary,
  );
}

function say(page: Page, ...texts: (string | Node)[]): void {
  page.notice.replaceChildren(h('p', {}, texts));
}

function fail(page: Page, what: string, error: unknown): void {
  if (!(error instanceof Failure)) console.error(error);
  say(page, `${what}: ${error instanceof Failure ? error.message : 'the page has an error.'} Try again.`);
}

/** Creates a button that is disabled during its action, and that says so if the action fails. */
function actionButton(
  page: Page,
  text: string,
  label: string | null,
  failure: string,
  act: () => Promise<void>,
): HTMLButtonElement {
  const click = async () => {
    button.disabled = true;
    try {
      await act();
    } catch (error) {
      fail(page, failure, error);
    }
    button.disabled = false;
  };
  const button = h('button', { class: 'link', type: 'button', 'aria-label': label, click }, text);
  return button;
}

/** Shows the cart without the lines that a request removed, and offers to put them back. */
function offerUndo(page: Page, gone: LineDetails[], text: string): void {
  const before = page.lines;
  // A sku that the catalog no longer has cannot be added again.
  const back = gone.filter((line) => line.product_id !== null);
  const undo = actionButton(page, 'Undo', null, 'Not put back', async () => {
    for (const { sku_id, count } of back) await cart.set(sku_id, count);
    page.lines = before.filter((line) => back.includes(line) || !gone.includes(line));
    say(page, 'Put back.');
    draw(page);
    page.root.querySelector<HTMLElement>('h1')?.focus();
  });
  page.lines = before.filter((line) => !gone.includes(line));
  say(page, text, ' ', ...(back.length > 0 ? [undo] : []));
  draw(page);
  // The button with the focus is gone.
  const focus = back.length > 0 ? undo : page.root.querySelector<HTMLElement>('h1');
  focus?.focus();
}

function summaryParts(lines: LineDetails[]): Node[] {
  const sum = lines
    .filter((line) => line.product_id !== null)
    .reduce((sum, line) => sum + line.count * (price(line).now ?? 0), 0);
  const short = lines.filter((line) => line.count > (line.quantity ?? 0)).length;
  const warning = `${short === 1 ? 'One line has' : `${count(short)} lines have`} more pieces than there are in stock.`;
  return [
    h('h2', {}, 'Summary'),
    h(
      'dl',
      {},
      h('div', {}, h('dt', {}, 'Pieces'), h('dd', {}, count(cart.total()))),
      h('div', { class: 'sum' }, h('dt', {}, 'Subtotal'), h('dd', {}, money(sum))),
    ),
    ...(short === 0 ? [] : [h('p', { class: 'stock is-few' }, warning)]),
    h('p', { class: 'small' }, 'The cart is kept for your next visit. This shop takes no orders.'),
    h('a', { class: 'button is-quiet is-wide', href: address.list() }, 'Continue shopping'),
  ];
}

/** Creates a line. `changed` is called when its count changes. */
function lineItem(page: Page, line: LineDetails, changed: () => void): HTMLElement {
  const name = line.product_name ?? 'This piece';
  const isKnown = line.product_id !== null;
  const max = Math.min(line.quantity ?? 0, MAX_LINE);
  const total = h('p', { class: 'line-total' });
  const stock = h('p', { class: 'stock is-few' });
  const field = stepper(`Quantity of ${name}`, 1, (value) => void change(value));

  const show = (value: number) => {
    line.count = value;
    cart.note(line.sku_id, value);
    drawLine();
    changed();
  };
  const drawLine = () => {
    field.set(line.count, max);
    const { now } = price(line);
    total.textContent = now === null ? '' : money(now * line.count);
    stock.hidden = line.count <= max;
    stock.textContent = !isKnown ? 'No longer in the catalog.' : max === 0 ? 'Sold out.' : `Only ${pieces(max)} left.`;
  };
  // Only one request of a line is in flight; the latest count follows it.
  let saved = line.count;
  let isSaving = false;
  const change = async (value: number) => {
    show(value);
    if (isSaving) return;
    isSaving = true;
    try {
      while (line.count !== saved) {
        const wanted = line.count;
        await cart.set(line.sku_id, wanted);
        saved = wanted;
      }
      announce(`${name}: ${pieces(saved)}, ${total.textContent}`);
    } catch (error) {
      show(saved);
      fail(page, 'The quantity was not changed', error);
    } finally {
      isSaving = false;
    }
  };
  drawLine();

  const remove = actionButton(page, 'Remove', `Remove ${name}`, 'Not removed', async () => {
    await cart.set(line.sku_id, 0);
    offerUndo(page, [line], `${name} was removed.`);
  });
  remove.prepend(icon('close'));
  const href = isKnown ? address.product(line.product_id!, line.style_id) : null;
  return h(
    'li',
    { class: 'line' },
    h('div', { class: 'line-picture' }, linePicture(line, name)),
    h(
      'div',
      { class: 'line-text' },
      h('h2', { class: 'card-name' }, href === null ? name : h('a', { href }, name)),
      line.style_name === null ? null : h('p', { class: 'small' }, `${line.style_name}, ${sizeName(line.size)}`),
      isKnown ? priceTag(line) : null,
      stock,
    ),
    h('div', { class: 'line-count' }, isKnown ? field.node : null, remove),
    total,
  );
}

function linePicture(line: LineDetails, name: string): HTMLElement {
  const { thumbnail_url: url, style_name: style } = line;
  return picture({ url, label: '', style, name, widths: [150, 300], sizes: '7rem' });
}
