// The cart: its lines with their products, which the visitor can change, remove, and put back.

import * as address from '../address.js';
import { problemText, type LineDetails } from '../api.js';
import * as cart from '../cart.js';
import { announce, h, icon } from '../dom.js';
import { count, pieces, price } from '../money.js';
import { picture } from '../pictures.js';
import { limitText, MAX_LINE, sizeName } from '../stock.js';
import { money, priceTag, state, stepper, type View } from './parts.js';

/** The view, which is drawn again whenever a line is removed or put back. */
interface CartPage {
  root: HTMLElement;
  notice: HTMLElement;
  summary: HTMLElement;
  /** The items of all lines that the cart had. They outlive a draw, so that a save that fails corrects what is shown. */
  items: Map<LineDetails, HTMLElement>;
  /** The lines that are shown. */
  lines: LineDetails[];
}

export async function cartView(signal: AbortSignal): Promise<View> {
  const lines = await cart.lines(signal);
  const page: CartPage = {
    root: h('div', { class: 'cart' }),
    notice: h('div', { class: 'notice', role: 'status' }),
    summary: h('div', { class: 'summary' }),
    items: new Map(),
    lines,
  };
  for (const line of lines) page.items.set(line, lineItem(page, line));
  draw(page);
  const summary = lines.length === 0 ? 'Your cart is empty' : `Cart, ${pieces(cart.total())}`;
  return { title: 'Cart', node: page.root, summary };
}

function draw(page: CartPage): void {
  const { root, notice, summary, items } = page;
  page.lines = [...items.keys()].filter((line) => cart.inCart(line.sku_id) > 0);
  if (page.lines.length === 0) {
    const link = h('a', { class: 'button', href: address.list() }, 'See the collection');
    const empty = state('0', 'Your cart is empty', 'Add a piece that you like, and it waits here for you.', link);
    empty.querySelector('h1')!.tabIndex = -1;
    root.replaceChildren(notice, empty);
    return;
  }
  drawSummary(page);
  root.replaceChildren(
    h(
      'div',
      { class: 'cart-head' },
      h('h1', { class: 'headline', tabindex: -1 }, 'Your cart'),
      actionButton(page, 'Empty the cart', 'Not emptied', async () => {
        await cart.empty();
        offerUndo(page, page.lines, 'The cart was emptied.');
      }),
    ),
    notice,
    h(
      'ul',
      { class: 'lines' },
      page.lines.map((line) => items.get(line)),
    ),
    summary,
  );
}

function say({ notice }: CartPage, text: string, button?: Node): void {
  notice.replaceChildren(h('p', {}, h('span', {}, text), button));
}

function sayProblem(page: CartPage, what: string, error: unknown, button?: Node): void {
  say(page, problemText(what, error), button);
  page.notice.firstElementChild!.className = 'is-failed';
}

/** Removes the failure of an earlier action. Its Undo stays. */
function clearProblem({ notice }: CartPage): void {
  const failed = notice.querySelector('.is-failed');
  failed?.querySelector('span')?.remove();
  failed?.removeAttribute('class');
  if (failed?.childElementCount === 0) failed.remove();
}

/** Creates a button that is off during its action. The notice says if it fails, and keeps the button if `isKept`. */
function actionButton(
  page: CartPage,
  text: string,
  failure: string,
  act: () => Promise<void>,
  isKept = false,
): HTMLButtonElement {
  const click = async () => {
    // A disabled button would lose the focus.
    if (button.hasAttribute('aria-disabled')) return;
    button.setAttribute('aria-disabled', 'true');
    clearProblem(page);
    try {
      await act();
    } catch (error) {
      sayProblem(page, failure, error, isKept ? button : undefined);
      // It lost the focus if the notice has moved it.
      if (document.activeElement === document.body) button.focus();
    } finally {
      button.removeAttribute('aria-disabled');
    }
  };
  const button = h('button', { class: 'link', type: 'button', click }, text);
  return button;
}

/** Shows the cart without the lines that a request removed, and offers to put them back. */
function offerUndo(page: CartPage, gone: LineDetails[], text: string): void {
  // A sku that the catalog no longer has cannot be added again.
  const back = gone.filter((line) => line.product_id !== null);
  const putBack = async () => {
    const results = await Promise.allSettled(back.map((line) => cart.set(line.sku_id, () => line.count)));
    const failed = results.find((result) => result.status === 'rejected');
    // A request that failed on its way may still have succeeded.
    if (failed) await cart.load().catch(() => undefined);
    draw(page);
    if (failed) throw failed.reason;
    say(page, 'Put back.');
    page.root.querySelector<HTMLElement>('h1')?.focus();
  };
  const undo = actionButton(page, 'Undo', 'Not put back', putBack, true);
  say(page, text, back.length > 0 ? undo : undefined);
  draw(page);
  // The button with the focus is gone.
  const focus = back.length > 0 ? undo : page.root.querySelector<HTMLElement>('h1');
  focus?.focus();
}

function drawSummary({ summary, lines }: CartPage): void {
  summary.replaceChildren(...summaryParts(lines));
}

function summaryParts(lines: LineDetails[]): Node[] {
  const n = lines.reduce((sum, line) => sum + line.count, 0);
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
      h('div', {}, h('dt', {}, 'Pieces'), h('dd', {}, count(n))),
      h('div', { class: 'sum' }, h('dt', {}, 'Subtotal'), h('dd', {}, money(sum))),
    ),
    ...(short === 0 ? [] : [h('p', { class: 'stock is-few' }, warning)]),
    h('p', { class: 'small' }, 'The cart is kept for your next visit. This shop takes no orders.'),
    h('a', { class: 'button is-quiet is-wide', href: address.list() }, 'Continue shopping'),
  ];
}

function lineItem(page: CartPage, line: LineDetails): HTMLElement {
  const name = line.product_name ?? 'This piece';
  const isKnown = line.product_id !== null;
  const max = Math.min(line.quantity ?? 0, MAX_LINE);
  const total = h('p', { class: 'line-total' });
  const stock = h('p', { class: 'stock is-few' });
  const field = stepper(
    `Quantity of ${name}`,
    (max) => limitText(max, line.quantity ?? 0),
    (value) => void change(value),
  );

  const show = (value: number) => {
    line.count = value;
    drawLine();
    drawSummary(page);
  };
  const drawLine = () => {
    field.set(line.count, max);
    const { now } = price(line);
    total.textContent = now === null ? '' : money(now * line.count);
    stock.hidden = line.count <= max;
    stock.textContent = !isKnown ? 'No longer in the catalog.' : max === 0 ? 'Sold out.' : `Only ${pieces(max)} left.`;
  };
  const saved = () => cart.inCart(line.sku_id);
  const change = async (value: number) => {
    show(value);
    clearProblem(page);
    try {
      // A line that was removed in the meantime stays removed.
      const isSaved = await cart.set(line.sku_id, () => (saved() === 0 ? 0 : line.count));
      if (!isSaved || saved() !== line.count) return;
      // The announcement replaces the one of a correction, so it repeats it.
      announce(`${name}: ${pieces(line.count)}, ${total.textContent}. ${field.note.textContent}`.trim());
    } catch (error) {
      show(saved());
      sayProblem(page, 'The quantity was not changed', error);
    }
  };
  drawLine();

  const remove = actionButton(page, 'Remove', 'Not removed', async () => {
    await cart.set(line.sku_id, () => 0);
    offerUndo(page, [line], `${name} was removed.`);
  });
  remove.setAttribute('aria-label', `Remove ${name}`);
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
    h('div', { class: 'line-count' }, isKnown ? field.node : null, remove, field.note),
    total,
  );
}

function linePicture(line: LineDetails, name: string): HTMLElement {
  const { thumbnail_url: url, style_name: style } = line;
  return picture({ url, label: '', style, name, widths: [150, 300], sizes: '7rem' });
}
