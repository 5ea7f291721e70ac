// The part of a product that a visitor buys from: its price, styles, sizes, and what is in stock.

import * as address from '../address.js';
import { problemText, type Overview, type Style } from '../api.js';
import * as cart from '../cart.js';
import { announce, h, hidden, icon } from '../dom.js';
import { count, pieces } from '../money.js';
import { picture } from '../pictures.js';
import { available, FEW, limitText, MAX_ADDITION, sizes, type Size } from '../stock.js';
import { priceTag, stepper } from './parts.js';

export class BuyBox {
  readonly node: HTMLElement;
  readonly #product: Overview['product'];
  readonly #styleChosen: (style: Style) => void;
  readonly #price = h('div', { class: 'price-slot' });
  readonly #styleName = h('span', { class: 'chosen' });
  readonly #sizes = h('div');
  readonly #problem = h('p', { class: 'problem', id: 'size-problem', hidden: true });
  readonly #stock = h('p', { class: 'stock' });
  readonly #quantity = stepper('Quantity', (max) => this.#limitText(max));
  readonly #button = h('button', { class: 'button is-wide', type: 'submit' });
  readonly #outcome = h('div', { class: 'outcome', role: 'status' });
  #style: Style | null;
  #size: Size | null = null;
  #isAdding = false;
  /** The note on the quantity when the visitor last pressed a key or a button. */
  #noteBefore = '';

  /** `styleChosen` is called with each style that the visitor chooses. */
  constructor(
    { product, styles }: Overview,
    style: Style | null,
    signal: AbortSignal,
    styleChosen: (style: Style) => void,
  ) {
    this.#product = product;
    this.#style = style;
    this.#styleChosen = styleChosen;
    this.node = h(
      'form',
      {
        class: 'buy',
        action: './',
        novalidate: true,
        keydown: () => this.#rememberNote(),
        pointerdown: () => this.#rememberNote(),
        submit: (event: Event) => void this.#submit(event),
      },
      h('p', { class: 'label' }, product.category),
      h('h1', {}, product.name),
      product.slogan === '' ? null : h('p', { class: 'slogan' }, product.slogan),
      this.#price,
      styles.results.length === 0 ? null : this.#styles(styles.results),
      this.#sizes,
      this.#problem,
      h('div', { class: 'add' }, this.#quantity.node, this.#button),
      this.#quantity.note,
      this.#stock,
      this.#outcome,
    );
    this.#draw();
    cart.onChange(() => this.#drawStock(), signal);
  }

  #isSoldOut(): boolean {
    return sizes(this.#style).every(({ quantity }) => quantity === 0);
  }

  #styles(styles: Style[]): HTMLElement {
    const swatches = styles.map((style) =>
      h(
        'label',
        { class: 'swatch', title: style.name },
        h('input', {
          type: 'radio',
          name: 'style',
          value: style.style_id,
          class: 'hidden',
          checked: style === this.#style,
          change: () => this.#chooseStyle(style),
        }),
        picture({
          url: style.photos[0]?.thumbnail_url ?? null,
          label: '',
          style: style.name,
          name: this.#product.name,
          widths: [100, 200],
          sizes: '4rem',
        }),
        hidden(style.name),
      ),
    );
    return h(
      'fieldset',
      {},
      h('legend', {}, 'Style', hidden(': '), this.#styleName),
      h('div', { class: 'swatch-row' }, swatches),
    );
  }

  #chooseStyle(style: Style): void {
    this.#style = style;
    this.#clear();
    this.#draw();
    this.#styleChosen(style);
    const all = sizes(style);
    const n = all.filter(({ quantity }) => quantity > 0).length;
    const stock = all.length === 0 ? 'not for sale' : n === 0 ? 'sold out' : `${n} of ${all.length} sizes in stock`;
    announce(`${style.name}, ${this.#price.textContent}, ${stock}`);
  }

  #chooseSize(size: Size): void {
    this.#size = size;
    this.#clear();
    this.#drawStock();
  }

  #clear(): void {
    this.#problem.hidden = true;
    this.#quantity.note.replaceChildren();
    this.#outcome.replaceChildren();
  }

  /** Draws the parts that depend on the style. A size that the style has too stays chosen. */
  #draw(): void {
    const style = this.#style;
    const prices = style ?? { ...this.#product, original_price: null, sale_price: null };
    this.#price.replaceChildren(priceTag(prices));
    this.#styleName.textContent = style?.name ?? '';
    const all = sizes(style);
    const inStock = all.filter(({ quantity }) => quantity > 0);
    const same = inStock.find(({ size }) => size === this.#size?.size);
    this.#size = same ?? (all.length === 1 ? (inStock[0] ?? null) : null);
    this.#drawSizes(all);
    this.#drawStock();
  }

  #drawSizes(all: Size[]): void {
    const pills = all.map((size) => {
      const isOut = size.quantity === 0;
      return h(
        'label',
        { class: 'pill' },
        h('input', {
          type: 'radio',
          name: 'size',
          value: size.sku,
          class: 'hidden',
          disabled: isOut,
          checked: size.sku === this.#size?.sku,
          change: () => this.#chooseSize(size),
        }),
        h('span', {}, size.size, isOut ? hidden(' sold out') : null),
      );
    });
    const legend = h('legend', {}, 'Size');
    const field = h('fieldset', { 'aria-describedby': this.#problem.id }, legend, h('div', { class: 'pills' }, pills));
    this.#sizes.replaceChildren(...(all.length === 0 ? [] : [field]));
  }

  /** Draws the parts that depend on the size and on the cart. */
  #drawStock(): void {
    const size = this.#size;
    const isSoldOut = this.#isSoldOut();
    const inCart = size === null ? 0 : cart.inCart(size.sku);
    const max = isSoldOut ? 0 : size === null ? MAX_ADDITION : available(size.quantity, inCart);
    this.#quantity.set(Math.max(1, Math.min(this.#quantity.value(), max)), max);
    this.#stock.textContent = `${this.#stockText()} ${cartText(inCart, size?.quantity)}`.trim();
    this.#stock.classList.toggle('is-few', size !== null && size.quantity <= FEW);
    this.#button.disabled = max === 0;
    this.#quantity.node.hidden = isSoldOut;
    const off = sizes(this.#style).length === 0 ? 'Not for sale' : 'Sold out';
    this.#button.textContent = this.#isAdding ? 'Adding …' : isSoldOut ? off : 'Add to cart';
  }

  #limitText(max: number): string {
    return this.#size === null
      ? `At most ${count(max)}.`
      : limitText(max, this.#size.quantity, cart.inCart(this.#size.sku));
  }

  #rememberNote(): void {
    this.#noteBefore = this.#quantity.note.textContent;
  }

  #stockText(): string {
    if (sizes(this.#style).length === 0) return 'This piece is not for sale at the moment.';
    if (this.#isSoldOut()) return 'This style is sold out.';
    if (this.#size === null) return '';
    return this.#size.quantity <= FEW ? `Only ${pieces(this.#size.quantity)} left.` : 'In stock.';
  }

  async #submit(event: Event): Promise<void> {
    event.preventDefault();
    if (this.#isAdding || this.#button.disabled) return;
    // The key or click that submits may have corrected the quantity first. The visitor has not seen that yet.
    const isCorrected = this.#quantity.note.textContent !== '' && this.#quantity.note.textContent !== this.#noteBefore;
    this.#rememberNote();
    if (isCorrected) return;
    if (this.#size === null) {
      this.#problem.textContent = 'Choose a size first.';
      this.#problem.hidden = false;
      announce(this.#problem.textContent);
      this.#sizes.querySelector<HTMLElement>('input:enabled')?.focus();
      return;
    }
    this.#isAdding = true;
    this.#outcome.replaceChildren();
    this.#drawStock();
    const outcome = await this.#add(this.#size, this.#quantity.value());
    this.#isAdding = false;
    this.#outcome.replaceChildren(outcome);
    this.#drawStock();
    // The focus was on the button, which is disabled after the last piece.
    if (this.#button.disabled) outcome.querySelector('a')?.focus();
  }

  async #add({ sku, size }: Size, n: number): Promise<HTMLElement> {
    try {
      await cart.add(sku, n);
    } catch (error) {
      return h('p', { class: 'problem' }, problemText('Not added', error));
    }
    this.#quantity.set(1, 1);
    this.#quantity.note.replaceChildren();
    const link = h('a', { href: address.format({ view: 'cart' }) }, 'View cart');
    return h('p', { class: 'added' }, icon('check'), h('span', {}, `${count(n)} × ${size} added.`), ' ', link);
  }
}

function cartText(inCart: number, quantity?: number): string {
  if (inCart === 0) return '';
  if (inCart !== quantity) return `${count(inCart)} in your cart.`;
  return inCart === 1 ? 'It is in your cart.' : `All ${count(inCart)} are in your cart.`;
}
