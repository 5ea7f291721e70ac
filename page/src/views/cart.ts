// The cart: its lines with their products, which the visitor can change, remove, and put back.

import * as address from '../address.js';
import { Failure, type LineDetails } from '../api.js';
import * as cart from '../cart.js';
import { announce, h, icon } from '../dom.js';
import { count, pieces, price } from '../money.js';
import { picture } from '../pictures.js';
import { MAX_LINE, sizeName } from '../stock.js';
import { money, priceTag, state, stepper, type View } from './parts.js';

export async function cartView(signal: AbortSignal): Promise<View> {
  const lines = await cart.lines(signal);
  const root = h('div', { class: 'cart' });
  const notice = h('div', { class: 'notice', role: 'status' });
  draw(root, notice, lines);
  return {
    title: 'Cart',
    node: root,
    summary: lines.length === 0 ? 'Your cart is empty' : `Cart, ${pieces(cart.total())}`,
  };
}

function draw(root: HTMLElement, notice: HTMLElement, lines: LineDetails[]): void {
  const say = (...texts: (string | Node)[]) => notice.replaceChildren(h('p', {}, texts));
  const fail = (what: string, error: unknown) => {
    if (!(error instanceof Failure)) console.error(error);
    say(`${what}: ${error instanceof Failure ? error.message : 'the page has an error.'} Try again.`);
  };

  /** Removes lines, after a request that did so, and offers to put them back. */
  const removed = (gone: LineDetails[], text: string) => {
    const rest = lines.filter((line) => !gone.includes(line));
    // A sku that the catalog no longer has cannot be added again.
    const back = gone.filter((line) => line.product_id !== null);
    const undo = h(
      'button',
      {
        class: 'link',
        type: 'button',
        click: async () => {
          undo.disabled = true;
          try {
            for (const { sku_id, count } of back) await cart.set(sku_id, count);
            say('Put back.');
            draw(
              root,
              notice,
              lines.filter((line) => rest.includes(line) || back.includes(line)),
            );
            root.querySelector<HTMLElement>('h1')?.focus();
          } catch (error) {
            fail('Not put back', error);
          }
        },
      },
      'Undo',
    );
    say(text, ' ', ...(back.length > 0 ? [undo] : []));
    draw(root, notice, rest);
    if (back.length > 0) undo.focus();
    else root.querySelector<HTMLElement>('h1')?.focus();
  };

  if (lines.length === 0) {
    root.replaceChildren(
      notice,
      state(
        '0',
        'Your cart is empty',
        'Add a piece that you like, and it waits here for you.',
        h('a', { class: 'button', href: address.list() }, 'See the collection'),
      ),
    );
    root.querySelector('h1')!.tabIndex = -1;
    return;
  }

  const summary = h('div', { class: 'summary' });
  const drawSummary = () => {
    const sold = lines.filter((line) => line.product_id !== null);
    const sum = sold.reduce((sum, line) => sum + line.count * (price(line).now ?? 0), 0);
    const short = lines.filter((line) => line.count > (line.quantity ?? 0)).length;
    summary.replaceChildren(
      h('h2', {}, 'Summary'),
      h(
        'dl',
        {},
        h('div', {}, h('dt', {}, 'Pieces'), h('dd', {}, count(cart.total()))),
        h('div', { class: 'sum' }, h('dt', {}, 'Subtotal'), h('dd', {}, money(sum))),
      ),
      short === 0
        ? ''
        : h(
            'p',
            { class: 'stock is-few' },
            `${short === 1 ? 'One line has' : `${count(short)} lines have`} more pieces than there are in stock.`,
          ),
      h('p', { class: 'small' }, 'The cart is kept for your next visit. This shop takes no orders.'),
      h('a', { class: 'button is-quiet is-wide', href: address.list() }, 'Continue shopping'),
    );
  };

  const item = (line: LineDetails) => {
    const name = line.product_name ?? 'This piece';
    const total = h('p', { class: 'line-total' });
    const stock = h('p', { class: 'stock' });
    const max = () => Math.min(line.quantity ?? 0, MAX_LINE);
    const field = stepper(`Quantity of ${name}`, 1, (value) => void change(value));
    const drawLine = () => {
      field.set(line.count, max());
      const { now } = price(line);
      total.textContent = now === null ? '' : money(now * line.count);
      const isShort = line.count > max();
      stock.hidden = !isShort;
      stock.classList.toggle('is-few', isShort);
      stock.textContent =
        line.product_id === null
          ? 'No longer in the catalog.'
          : max() === 0
            ? 'Sold out.'
            : `Only ${pieces(max())} left.`;
    };
    // Only one request of a line is in flight; the latest count follows it.
    let saved = line.count;
    let isSaving = false;
    const change = async (value: number) => {
      line.count = value;
      cart.note(line.sku_id, value);
      drawLine();
      drawSummary();
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
        line.count = saved;
        cart.note(line.sku_id, saved);
        drawLine();
        drawSummary();
        fail('The quantity was not changed', error);
      } finally {
        isSaving = false;
      }
    };
    const remove = async (event: Event) => {
      const button = event.currentTarget as HTMLButtonElement;
      button.disabled = true;
      try {
        await cart.set(line.sku_id, 0);
        removed([line], `${name} was removed.`);
      } catch (error) {
        button.disabled = false;
        fail('Not removed', error);
      }
    };
    drawLine();
    const href = line.product_id === null ? null : address.product(line.product_id, line.style_id);
    return h(
      'li',
      { class: 'line' },
      h(
        'div',
        { class: 'line-picture' },
        picture({
          url: line.thumbnail_url,
          label: '',
          style: line.style_name,
          name,
          widths: [150, 300],
          sizes: '7rem',
        }),
      ),
      h(
        'div',
        { class: 'line-text' },
        h('h2', { class: 'card-name' }, href === null ? name : h('a', { href }, name)),
        line.style_name === null ? null : h('p', { class: 'small' }, `${line.style_name}, ${sizeName(line.size)}`),
        line.product_id === null ? null : priceTag(line),
        stock,
      ),
      h(
        'div',
        { class: 'line-count' },
        line.product_id === null ? null : field.node,
        h(
          'button',
          { class: 'link', type: 'button', 'aria-label': `Remove ${name}`, click: remove },
          icon('close'),
          'Remove',
        ),
      ),
      total,
    );
  };

  const empty = async (event: Event) => {
    const button = event.currentTarget as HTMLButtonElement;
    button.disabled = true;
    try {
      await cart.empty();
      removed(lines, 'The cart was emptied.');
    } catch (error) {
      button.disabled = false;
      fail('Not emptied', error);
    }
  };

  const heading = h('h1', { class: 'headline', tabindex: -1 }, 'Your cart');
  drawSummary();
  root.replaceChildren(
    h(
      'div',
      { class: 'cart-head' },
      heading,
      h('button', { class: 'link', type: 'button', click: empty }, 'Empty the cart'),
    ),
    notice,
    h('ul', { class: 'lines' }, lines.map(item)),
    summary,
  );
}
