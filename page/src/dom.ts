// Elements from functions. Texts are always text nodes, never HTML.

type Child = Node | string | number | null | undefined | false | Child[];
type Listener = (event: never) => void;
type Attributes = Record<string, string | number | boolean | null | undefined | Listener>;

/** Creates an element. An attribute that is a function is a listener; true has no value, and false or null is absent. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, value as EventListener);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  append(element, children);
  return element;
}

function append(element: Element, children: Child[]): void {
  for (const child of children) {
    if (Array.isArray(child)) append(element, child);
    else if (child !== null && child !== undefined && child !== false) {
      element.append(child instanceof Node ? child : String(child));
    }
  }
}

const ICONS = {
  check: 'm5 12.5 4.5 4.5L19 7.5',
  close: 'm6 6 12 12M18 6 6 18',
  left: 'm14.5 5-7 7 7 7',
  minus: 'M6 12h12',
  plus: 'M12 6v12M6 12h12',
  right: 'm9.5 5 7 7-7 7',
  first: 'm18 5-7 7 7 7M7 5v14',
  last: 'm6 5 7 7-7 7M17 5v14',
  enlarge: 'M9 4H4v5M15 4h5v5M9 20H4v-5M15 20h5v-5',
};

/** Creates an icon, which assistive technology ignores. */
export function icon(name: keyof typeof ICONS): SVGSVGElement {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(space, 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

/** Creates text for assistive technology only. */
export const hidden = (...children: Child[]): HTMLElement => h('span', { class: 'hidden' }, ...children);

/** Announces a text to assistive technology. */
export function announce(text: string): void {
  const live = document.getElementById('live')!;
  // A changed text is announced; the same one again is not, so a no-break space makes a difference.
  live.textContent = live.textContent === text ? `${text}\u00a0` : text;
}
