// A catalog, the product page over it, and Chromium, for the tests of a file that imports this. Each tab records the
// problems that no visitor may meet.

import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { launch, open as openTab, settled } from './browser.mjs';
import { PAGE_POLICY, startBelow, startDistribution, startFleet } from './servers.mjs';

/** The browser, the servers, and the overviews of all products, from the first test on. */
export const shop = {};

before(async () => {
  shop.fleet = await startFleet();
  shop.distribution = await startDistribution({ page: PAGE_POLICY }, shop.fleet.host);
  shop.below = await startBelow('/shop', shop.distribution.address);
  shop.belowHost = await startBelow('/shop', shop.fleet.host);
  shop.browser = await launch();
  const cards = await (await fetch(`${shop.fleet.host}/cards?count=100`)).json();
  shop.overviews = await Promise.all(
    cards.map(async ({ id }) => (await fetch(`${shop.fleet.host}/products/${id}/overview`)).json()),
  );
});

after(async () => {
  await shop.browser?.close();
  shop.below?.stop();
  shop.belowHost?.stop();
  shop.distribution?.stop();
  await shop.fleet?.stop();
});

export { settled };

export const open = (address, options) => openTab(shop.browser, address, options);

export const at = (query = '') => `${shop.distribution.address}/${query}`;

/** Returns the first product with what a test needs. */
export function find(isFit) {
  const found = shop.overviews.find(isFit);
  assert.ok(found, `no product has ${isFit}`);
  return found;
}

export const skus = (style) =>
  Object.entries(style.skus)
    .filter(([id]) => id !== 'null')
    .map(([id, sku]) => ({ id: Number(id), ...sku }));
export const shownStyle = ({ styles }) => styles.results.find((style) => style['default?']) ?? styles.results[0];
export const hasStock = (overview, min = 1) =>
  skus(shownStyle(overview) ?? { skus: {} }).some(({ quantity }) => quantity >= min);

/** Chooses a size with at least some pieces, and returns its sku. */
export async function chooseSize(page, overview, min = 1) {
  const sku = skus(shownStyle(overview)).find(({ quantity }) => quantity >= min);
  await page.locator(`input[name="size"][value="${sku.id}"]`).check({ force: true });
  return sku;
}

/** Adds a piece of a product to the cart of a tab, and returns its sku. */
export async function add(page, overview, min = 1) {
  await page.goto(new URL(`?product=${overview.product.id}`, page.url()).href);
  await settled(page);
  const sku = await chooseSize(page, overview, min);
  await page.getByRole('button', { name: 'Add to cart' }).click();
  assert.match(await text(page, '.outcome p'), / added\./);
  return sku;
}

/** The price of a style in dollars, as a visitor pays it. */
export const priceOf = ({ original_price: regular, sale_price: sale }) => Number(Number(sale) > 0 ? sale : regular);

export const dollars = (number) => `$${number.toLocaleString('en')}`;

/** Opens, with the keyboard, a card that is far enough down to scroll the list. Returns its address and the position. */
export async function openScrolled(page) {
  const card = page.locator('.card a').nth(13);
  const href = await card.getAttribute('href');
  await card.focus();
  const scrolled = await page.evaluate(() => window.scrollY);
  assert.ok(scrolled > 0);
  await page.keyboard.press('Enter');
  await page.locator('.buy h1').waitFor();
  return { href, scrolled };
}

/** Follows a link within the page, which is not loaded again. */
export async function follow(page, query) {
  await page.evaluate((href) => {
    const link = Object.assign(document.createElement('a'), { href });
    document.body.append(link);
    link.click();
    link.remove();
  }, query);
  await settled(page);
}

/** Holds requests, such as `PUT /cart/7`, until the returned function is called: all of them, or the first ones. */
export async function hold(page, wanted, times = Infinity) {
  let release;
  const released = new Promise((resolve) => (release = resolve));
  await page.route('**', async (route) => {
    const request = route.request();
    if (`${request.method()} ${new URL(request.url()).pathname}` === wanted && times-- > 0) await released;
    await route.fallback();
  });
  return release;
}

/** The counts that the service has, by sku. */
export const served = (page) =>
  page.evaluate(async () =>
    Object.fromEntries((await (await fetch('cart')).json()).map(({ sku_id, count }) => [sku_id, count])),
  );

/** A response with a problem. */
export const problem = (status, detail, headers) => ({
  status,
  headers,
  contentType: 'application/problem+json',
  body: JSON.stringify({ type: 'about:blank', title: 'x', status, detail, request_id: 'abc123' }),
});

/** Changes the response of a path. */
export async function change(page, pathname, edit) {
  await page.route(
    (url) => url.pathname === pathname,
    async (route) => {
      const response = await route.fetch();
      const body = await response.json();
      edit(body);
      await route.fulfill({ response, json: body });
    },
  );
}

export const text = (page, selector) => page.locator(selector).first().innerText();

/** The text without double blanks. */
export const line = async (page, selector) => (await text(page, selector)).replace(/\s+/g, ' ').trim();
