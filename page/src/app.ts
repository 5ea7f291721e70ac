// The page: its header, the view of each address, and the way from one view to another.

import { format, parse, wholeNumber, type Route } from './address.js';
import { Failure } from './api.js';
import * as cart from './cart.js';
import { announce } from './dom.js';
import { cartView } from './views/cart.js';
import { listView, listSkeleton } from './views/list.js';
import { productView, productSkeleton } from './views/product.js';
import { cartSkeleton, failed, unknownProduct, type View } from './views/parts.js';

/** What an entry of the history keeps of its view: the scroll position, and the link that the visitor followed. */
interface HistoryState {
  scroll?: number;
  link?: string;
}

/** A skeleton that appears for less than this time would only flicker. */
const SKELETON_DELAY_MS = 150;

const main = document.getElementById('main')!;
const badge = document.getElementById('badge')!;
const toCart = document.querySelector<HTMLAnchorElement>('.to-cart')!;
const search = document.querySelector<HTMLFormElement>('.search')!;
const input = search.querySelector('input')!;

let navigation = new AbortController();
let scrollTimer: ReturnType<typeof setTimeout> | undefined;
/** The query of the view that is shown or loads. */
let shown = location.search;
/** Whether the view has loaded. The scroll position of a skeleton or an error is not kept. */
let isLoaded = false;

history.scrollRestoration = 'manual';

/** Shows the view of the current address. `return` is Back, forward, or another try: the view has its place again. */
async function show(cause: 'start' | 'link' | 'return'): Promise<void> {
  clearTimeout(scrollTimer);
  navigation.abort();
  navigation = new AbortController();
  const { signal } = navigation;
  shown = location.search;
  isLoaded = false;
  const route = parse(location.search);
  const kept = (history.state ?? {}) as HistoryState;
  const origin = document.activeElement;
  input.value = route.view === 'list' ? route.q : '';
  if (route.view === 'cart') toCart.setAttribute('aria-current', 'page');
  else toCart.removeAttribute('aria-current');
  main.setAttribute('aria-busy', 'true');
  const delay = cause === 'start' ? 0 : SKELETON_DELAY_MS;
  const waiting = setTimeout(() => place(skeleton(route), cause), delay);
  if (delay === 0) place(skeleton(route), cause);

  let view: View;
  try {
    view = await load(route, signal);
    isLoaded = !signal.aborted;
  } catch (error) {
    if (signal.aborted) return;
    view = failure(error);
  } finally {
    clearTimeout(waiting);
  }
  if (signal.aborted) return;
  place(view.node, cause);
  main.removeAttribute('aria-busy');
  document.title = view.title === '' ? 'Atelier' : `${view.title} · Atelier`;
  view.placed?.();
  if (cause === 'start') {
    // A reload, or a return from another site.
    if (kept.scroll !== undefined) window.scrollTo(0, kept.scroll);
    return;
  }
  announce(view.summary);
  moveFocus(origin, cause === 'return' ? kept.link : undefined);
  if (cause === 'return') window.scrollTo(0, kept.scroll ?? 0);
}

/** Moves the focus to a link of the view or to its heading, unless it left `origin` for a place outside the view. */
function moveFocus(origin: Element | null, href: string | undefined): void {
  const focused = document.activeElement;
  if (focused !== null && focused !== document.body && focused !== origin && !main.contains(focused)) return;
  const link = href === undefined ? null : main.querySelector<HTMLElement>(`a[href="${CSS.escape(href)}"]`);
  const target = link ?? main.querySelector<HTMLElement>('h1') ?? main;
  if (target.tagName === 'H1') target.tabIndex = -1;
  target.focus({ preventScroll: true });
}

function place(node: Node, cause: string): void {
  main.replaceChildren(node);
  if (cause === 'link') window.scrollTo(0, 0);
}

function skeleton(route: Route): Node {
  if (route.view === 'cart') return cartSkeleton();
  return route.view === 'product' ? productSkeleton() : listSkeleton(route);
}

async function load(route: Route, signal: AbortSignal): Promise<View> {
  if (route.view === 'cart') return cartView(signal);
  if (route.view === 'list') return listView(route, signal);
  const id = wholeNumber(route.id);
  if (id === null) return unknownProduct();
  try {
    return await productView(id, route.style, signal, (style) => {
      // The visitor has followed a link already, and the address is that of the next view.
      if (signal.aborted) return;
      history.replaceState(history.state, '', format({ ...route, style }));
      shown = location.search;
    });
  } catch (error) {
    if (error instanceof Failure && error.status === 404) return unknownProduct();
    throw error;
  }
}

function failure(error: unknown): View {
  if (!(error instanceof Failure)) console.error(error);
  return failed(error, () => void show('return'));
}

/** Keeps in history where the current view is scrolled to. */
function remember(link?: string): void {
  if (!isLoaded) return;
  const state: HistoryState = { ...history.state, scroll: window.scrollY };
  if (link !== undefined) state.link = link;
  history.replaceState(state, '');
}

/** Goes to an address of this page. The current address is no step of Back. */
function go(address: string, link?: string): void {
  if (new URL(address, document.baseURI).search !== location.search) {
    remember(link);
    history.pushState(null, '', address);
  }
  void show('link');
}

// Back and forward change the entry of the history before an event says so, so the place is kept as it changes.
window.addEventListener(
  'scroll',
  () => {
    clearTimeout(scrollTimer);
    scrollTimer = setTimeout(() => remember(), 100);
  },
  { passive: true },
);

/** Reads the cart again, which another page or window may have changed. */
async function refresh(): Promise<void> {
  const isChanged = await cart.load().catch(() => false);
  if (isChanged && parse(location.search).view === 'cart') void show('return');
}
window.addEventListener('pageshow', (event) => event.persisted && void refresh());
document.addEventListener('visibilitychange', () => document.hidden || void refresh());
cart.onChangeElsewhere(() => document.hidden || void refresh());

document.addEventListener('click', (event) => {
  const link = (event.target as Element).closest('a');
  if (link === null || event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  if (link.classList.contains('skip')) {
    // Without an entry in the history, so that Back still leaves the view.
    event.preventDefault();
    main.focus();
    return;
  }
  const url = new URL(link.href);
  if (url.origin !== location.origin || url.pathname !== new URL('./', document.baseURI).pathname) return;
  event.preventDefault();
  go(link.href, link.getAttribute('href') ?? undefined);
});

window.addEventListener('popstate', () => {
  if (location.search !== shown) void show('return');
});

search.addEventListener('submit', (event) => {
  event.preventDefault();
  const q = input.value.trim();
  go(format({ view: 'list', category: '', q, page: 1 }));
});

cart.onChange(() => {
  const n = cart.total();
  badge.hidden = n === 0;
  badge.textContent = n > 999 ? '999+' : String(n);
  document.getElementById('badge-unit')!.textContent = n === 0 ? 'is empty' : n === 1 ? 'piece' : 'pieces';
});

void show('start');
// The cart view reads the lines itself.
if (parse(location.search).view !== 'cart') cart.load().catch(() => undefined);
