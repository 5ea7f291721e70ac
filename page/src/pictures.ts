// Pictures. Until one has loaded, and if it fails, its place shows cloth in the colours of the style, with a sewn-in label.

import { h } from './dom.js';

export interface Picture {
  url: string | null;
  /** The alternative text; empty if a text beside the picture says the same. */
  label: string;
  /** The name of the style, whose colours the cloth has, or null. */
  style: string | null;
  /** The name of the product: its initials are on the label, and it chooses the weave. */
  name: string;
  /** Widths in pixels to offer, smallest first. */
  widths: number[];
  /** The `sizes` of the img element. */
  sizes: string;
  isEager?: boolean;
  /** The number of the picture in a gallery: each one shows the cloth at another scale. */
  index?: number;
}

// Muted colours of cloth for products whose style is unknown: lists do not have it.
const DYES = [
  '#39507a',
  '#5f7355',
  '#b58a45',
  '#8e4a3a',
  '#5d6a74',
  '#6b4660',
  '#b9a888',
  '#3d7172',
  '#45434a',
  '#a9747b',
];
const WEAVES = ['twill', 'herringbone', 'pinstripe', 'gingham', 'windowpane', 'birdseye'];
const COLOURS: Record<string, string> = { mintgreen: '#98e4b8', moss: '#6b7a45', slate: '#5d6a74', camel: '#b58a5a' };

/** Returns a number that a text always has (FNV-1a). */
function hash(text: string): number {
  let value = 2166136261;
  for (let i = 0; i < text.length; i += 1) value = Math.imul(value ^ text.charCodeAt(i), 16777619);
  return (value ^ (value >>> 13)) >>> 0;
}

/** Returns the CSS colours that the name of a style mentions, such as two for "Sky Blue & Black". */
export function colours(style: string | null, isColour: (name: string) => boolean): string[] {
  return (style ?? '').split(/[&/,+]| and /i).flatMap((part) => {
    const words = part.toLowerCase().match(/[a-z]+/g) ?? [];
    const names = [words.join(''), ...words.slice().reverse()];
    const name = names.find((name) => name !== '' && (Object.hasOwn(COLOURS, name) || isColour(name)));
    return name === undefined ? [] : [COLOURS[name] ?? name];
  });
}

/** Returns the initials of a name: at most two. */
export function initials(name: string): string {
  const words = name.match(/[\p{L}\p{N}]+(?:['’][\p{L}\p{N}]+)*/gu) ?? [];
  return words
    .slice(0, 2)
    .map((word) => [...word][0])
    .join('')
    .toUpperCase();
}

/**
 * Returns the addresses of a picture in several widths, if its address has one (`w=2734`, as imgix reads it): thumbnails
 * of 300 pixels are too small for dense screens, and photos of 2,734 too large. A signed address stays as it is.
 */
export function sourceSet(url: string, widths: number[]): string {
  if (!/[?&]w=[0-9]+(&|$)/.test(url) || /[?&]s=/.test(url)) return '';
  return widths.map((width) => `${url.replace(/([?&]w=)[0-9]+/, `$1${width}`)} ${width}w`).join(', ');
}

/** Creates a picture. It takes the size of its place, so that nothing moves when it loads or fails. */
export function picture(of: Picture): HTMLElement {
  const seed = hash(of.name);
  const [base, thread] = colours(
    of.style,
    (name) => CSS.supports('color', name) && !/^(inherit|initial|unset|revert)$/.test(name),
  );
  const cloth = h('div', { class: `cloth ${WEAVES[seed % WEAVES.length]}`, 'data-initials': initials(of.name) });
  cloth.style.setProperty('--dye', base ?? DYES[(seed >>> 8) % DYES.length]!);
  if (thread !== undefined) cloth.style.setProperty('--thread', thread);
  cloth.style.setProperty('--scale', String(1 + ((of.index ?? 0) % 4) * 0.6));
  const place = h('div', { class: 'picture' }, cloth);
  const describe = () => {
    if (of.label === '') return;
    cloth.setAttribute('role', 'img');
    cloth.setAttribute('aria-label', of.label);
  };
  // The content security policy admits pictures by HTTPS only.
  if (of.url === null || !of.url.startsWith('https://')) {
    describe();
    return place;
  }
  const img = h('img', {
    alt: of.label,
    sizes: of.sizes,
    srcset: sourceSet(of.url, of.widths) || null,
    src: of.url,
    loading: of.isEager ? 'eager' : 'lazy',
    fetchpriority: of.isEager ? 'high' : null,
    decoding: 'async',
    referrerpolicy: 'no-referrer',
    load: () => place.classList.add('is-loaded'),
    error: () => {
      img.remove();
      describe();
    },
  });
  place.append(img);
  return place;
}
