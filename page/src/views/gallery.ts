// The pictures of a style: one large, thumbnails, and an enlarged one in a dialog.

import type { Style } from '../api.js';
import { announce, h, icon } from '../dom.js';
import { picture } from '../pictures.js';

/** Creates the gallery of a style, or of a product without styles. */
export function gallery(name: string, style: Style | null): HTMLElement {
  const photos = style?.photos ?? [{ url: null, thumbnail_url: null }];
  const description = style === null ? name : `${name} in ${style.name}`;
  const label = (i: number) =>
    photos.length === 1 ? description : `${description}, photo ${i + 1} of ${photos.length}`;
  const large = (i: number, sizes: string, widths: number[], isEager: boolean) =>
    picture({
      url: photos[i]!.url ?? photos[i]!.thumbnail_url,
      label: label(i),
      style: style?.name ?? null,
      name,
      widths,
      sizes,
      isEager,
      index: i,
    });
  let current = 0;

  const stage = h('button', { class: 'stage', type: 'button', click: () => enlarge() });
  const counter = h('span', { class: 'counter', 'aria-hidden': 'true' });
  const thumbnails = photos.map(({ thumbnail_url, url }, i) =>
    h(
      'button',
      { type: 'button', 'aria-label': `Photo ${i + 1} of ${photos.length}`, click: () => turn(i) },
      picture({
        url: thumbnail_url ?? url,
        label: '',
        style: style?.name ?? null,
        name,
        widths: [100, 200],
        sizes: '5rem',
        index: i,
      }),
    ),
  );
  const view = h('dialog', { class: 'enlarged', 'aria-label': description });

  const draw = () => {
    stage.replaceChildren(
      large(current, '(min-width: 60rem) 40rem, 100vw', [400, 640, 960, 1400], true),
      h('span', { class: 'enlarge' }, icon('enlarge')),
    );
    stage.setAttribute('aria-label', `Enlarge: ${label(current)}`);
    counter.textContent = `${current + 1} / ${photos.length}`;
    thumbnails.forEach((thumbnail, i) => {
      if (i === current) thumbnail.setAttribute('aria-current', 'true');
      else thumbnail.removeAttribute('aria-current');
    });
    const list = thumbnails[current]?.closest('ul');
    const item = thumbnails[current];
    if (list && item)
      list.scrollTo({ top: item.offsetTop - list.offsetTop - 40, left: item.offsetLeft - list.offsetLeft - 80 });
    if (view.open) view.querySelector('.picture')?.replaceWith(large(current, '100vw', [960, 1600, 2400], true));
  };
  const turn = (to: number) => {
    current = (to + photos.length) % photos.length;
    draw();
    announce(label(current));
  };
  const arrow = (by: number, className: string) =>
    photos.length === 1
      ? null
      : h(
          'button',
          {
            class: className,
            type: 'button',
            'aria-label': by < 0 ? 'Previous photo' : 'Next photo',
            click: () => turn(current + by),
          },
          icon(by < 0 ? 'left' : 'right'),
        );
  const enlarge = () => {
    view.replaceChildren(
      large(current, '100vw', [960, 1600, 2400], true),
      h(
        'button',
        { class: 'round close', type: 'button', 'aria-label': 'Close', click: () => view.close() },
        icon('close'),
      ),
    );
    for (const button of [arrow(-1, 'round previous'), arrow(1, 'round next')]) if (button) view.append(button);
    view.showModal();
  };
  view.addEventListener('click', (event) => {
    if (event.target === view) view.close();
  });

  const node = h(
    'div',
    { class: photos.length === 1 ? 'gallery is-single' : 'gallery', role: 'group', 'aria-label': 'Photos' },
    photos.length === 1
      ? null
      : h(
          'ul',
          { class: 'thumbnails' },
          thumbnails.map((thumbnail) => h('li', {}, thumbnail)),
        ),
    h(
      'div',
      { class: 'frame' },
      stage,
      photos.length === 1 ? null : [arrow(-1, 'round previous'), arrow(1, 'round next'), counter],
    ),
    view,
  );

  node.addEventListener('keydown', (event) => {
    const to = { ArrowLeft: current - 1, ArrowRight: current + 1, Home: 0, End: photos.length - 1 }[event.key];
    if (to === undefined || photos.length === 1 || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    turn(to);
    if (thumbnails.some((thumbnail) => thumbnail === document.activeElement))
      thumbnails[current]?.focus({ preventScroll: true });
  });
  let start: { x: number; y: number } | null = null;
  node.addEventListener(
    'touchstart',
    (event) => {
      const touch = event.touches[0];
      start =
        touch && event.touches.length === 1 && !(event.target as Element).closest('.thumbnails')
          ? { x: touch.clientX, y: touch.clientY }
          : null;
    },
    { passive: true },
  );
  node.addEventListener(
    'touchend',
    (event) => {
      const touch = event.changedTouches[0];
      if (start === null || !touch || photos.length === 1) return;
      const x = touch.clientX - start.x;
      if (Math.abs(x) > 40 && Math.abs(x) > 2 * Math.abs(touch.clientY - start.y)) turn(current + (x < 0 ? 1 : -1));
      start = null;
    },
    { passive: true },
  );

  draw();
  return node;
}
