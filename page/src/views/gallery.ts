// The photos of a style: one large, thumbnails, and an enlarged one in a dialog.

import type { Style } from '../api.js';
import { announce, h, icon } from '../dom.js';
import { picture } from '../pictures.js';

/** A finger must move by more than this, and mostly sideways, to turn the photos. */
const MIN_SWIPE_PX = 40;

export class Gallery {
  readonly node: HTMLElement;
  readonly #name: string;
  readonly #style: Style | null;
  readonly #photos: Style['photos'];
  readonly #stage = h('button', { class: 'stage', type: 'button', click: () => this.#enlarge() });
  readonly #counter = h('span', { class: 'counter', 'aria-hidden': 'true' });
  readonly #thumbnails: HTMLElement[];
  readonly #dialog = h('dialog', { class: 'enlarged' });
  // The rest of the page is inert while the dialog is open, and its announcements are not read.
  readonly #status = h('p', { class: 'hidden', role: 'status' });
  #current = 0;
  #touch: { x: number; y: number } | null = null;

  /** Creates the gallery of a style, or of a product without styles. */
  constructor(name: string, style: Style | null) {
    this.#name = name;
    this.#style = style;
    this.#photos = style?.photos ?? [{ url: null, thumbnail_url: null }];
    this.#thumbnails = this.#photos.map((_, i) => this.#thumbnail(i));
    this.#dialog.setAttribute('aria-label', this.#description());
    this.#dialog.addEventListener('click', (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    });
    this.node = h(
      'div',
      {
        class: this.#isSingle() ? 'gallery is-single' : 'gallery',
        role: 'group',
        'aria-label': 'Photos',
        keydown: (event: KeyboardEvent) => this.#keyPressed(event),
      },
      this.#isSingle() ? null : h('ul', { class: 'thumbnails' }, ...this.#thumbnails.map((of) => h('li', {}, of))),
      h('div', { class: 'frame' }, this.#stage, this.#isSingle() ? null : [this.#arrows(), this.#counter]),
      this.#dialog,
    );
    this.node.addEventListener('touchstart', (event) => this.#touchStarted(event), { passive: true });
    this.node.addEventListener('touchend', (event) => this.#touchEnded(event), { passive: true });
    this.#draw();
  }

  #isSingle(): boolean {
    return this.#photos.length === 1;
  }

  #description(): string {
    return this.#style === null ? this.#name : `${this.#name} in ${this.#style.name}`;
  }

  #label(i: number): string {
    return this.#isSingle() ? this.#description() : `${this.#description()}, photo ${i + 1} of ${this.#photos.length}`;
  }

  #picture(i: number, of: { url: string | null; label: string; widths: number[]; sizes: string; isEager?: boolean }) {
    return picture({ ...of, style: this.#style?.name ?? null, name: this.#name, index: i });
  }

  #large(widths: number[], sizes: string): HTMLElement {
    const i = this.#current;
    const { url, thumbnail_url } = this.#photos[i]!;
    return this.#picture(i, { url: url ?? thumbnail_url, label: this.#label(i), widths, sizes, isEager: true });
  }

  #enlarged(): HTMLElement {
    return this.#large([960, 1600, 2400], '100vw');
  }

  #thumbnail(i: number): HTMLElement {
    const { url, thumbnail_url } = this.#photos[i]!;
    return h(
      'button',
      { type: 'button', 'aria-label': `Photo ${i + 1} of ${this.#photos.length}`, click: () => this.#turn(i) },
      this.#picture(i, { url: thumbnail_url ?? url, label: '', widths: [100, 200], sizes: '5rem' }),
    );
  }

  #arrows(): HTMLElement[] {
    const arrow = (by: number, name: string, side: 'left' | 'right', className: string) => {
      const click = () => this.#turn(this.#current + by);
      return h('button', { class: className, type: 'button', 'aria-label': name, click }, icon(side));
    };
    return [arrow(-1, 'Previous photo', 'left', 'round previous'), arrow(1, 'Next photo', 'right', 'round next')];
  }

  #draw(): void {
    this.#stage.replaceChildren(
      this.#large([400, 640, 960, 1400], '(min-width: 60rem) 40rem, 100vw'),
      h('span', { class: 'enlarge' }, icon('enlarge')),
    );
    this.#stage.setAttribute('aria-label', `Enlarge: ${this.#label(this.#current)}`);
    this.#counter.textContent = `${this.#current + 1} / ${this.#photos.length}`;
    this.#thumbnails.forEach((thumbnail, i) => {
      if (i === this.#current) thumbnail.setAttribute('aria-current', 'true');
      else thumbnail.removeAttribute('aria-current');
    });
    const thumbnail = this.#thumbnails[this.#current]!;
    const list = thumbnail.closest('ul');
    // scrollIntoView would move the page too.
    list?.scrollTo({
      top: thumbnail.offsetTop - list.offsetTop - thumbnail.offsetHeight,
      left: thumbnail.offsetLeft - list.offsetLeft - thumbnail.offsetWidth,
    });
    if (this.#dialog.open) this.#dialog.querySelector('.picture')?.replaceWith(this.#enlarged());
  }

  #turn(to: number): void {
    this.#current = (to + this.#photos.length) % this.#photos.length;
    this.#draw();
    const label = this.#label(this.#current);
    if (this.#dialog.open) this.#status.textContent = label;
    else announce(label);
  }

  #enlarge(): void {
    const close = () => this.#dialog.close();
    this.#status.textContent = '';
    this.#dialog.replaceChildren(
      this.#enlarged(),
      h('button', { class: 'round close', type: 'button', 'aria-label': 'Close', click: close }, icon('close')),
      ...(this.#isSingle() ? [] : this.#arrows()),
      this.#status,
    );
    this.#dialog.showModal();
  }

  #keyPressed(event: KeyboardEvent): void {
    const keys = new Map([
      ['ArrowLeft', this.#current - 1],
      ['ArrowRight', this.#current + 1],
      ['Home', 0],
      ['End', this.#photos.length - 1],
    ]);
    const to = keys.get(event.key);
    if (to === undefined || this.#isSingle() || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.#turn(to);
    if (this.#thumbnails.some((thumbnail) => thumbnail === document.activeElement)) {
      this.#thumbnails[this.#current]!.focus({ preventScroll: true });
    }
  }

  #touchStarted(event: TouchEvent): void {
    const touch = event.touches[0];
    // The thumbnails scroll by themselves, and two fingers zoom.
    const isSwipe = touch && event.touches.length === 1 && !(event.target as Element).closest('.thumbnails');
    this.#touch = isSwipe ? { x: touch.clientX, y: touch.clientY } : null;
  }

  #touchEnded(event: TouchEvent): void {
    const touch = event.changedTouches[0];
    if (this.#touch === null || !touch || this.#isSingle()) return;
    const x = touch.clientX - this.#touch.x;
    const y = touch.clientY - this.#touch.y;
    if (Math.abs(x) > MIN_SWIPE_PX && Math.abs(x) > 2 * Math.abs(y)) this.#turn(this.#current + (x < 0 ? 1 : -1));
    this.#touch = null;
  }
}
