// Tests each way to serve the product page, in Chromium. `make test-page` runs them.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { PAGE_POLICY, startPage } from './servers.mjs';
import { add, at, chooseSize, find, hasStock, open, settled, shop, text } from './shop.mjs';

for (const [name, address] of [
  ['on a host', () => `${shop.fleet.host}/`],
  ['through NGINX', () => `${shop.fleet.balancer}/`],
  ['below a base path of a host', () => `${shop.belowHost.address}/shop/`],
  ['as files beside the functions', () => `${shop.distribution.address}/`],
  ['below a base path', () => `${shop.below.address}/shop/`],
]) {
  test(`${name}, a visitor finds a product, fills a cart, and empties it`, async () => {
    const tab = await open(address());
    const { page } = tab;
    const overview = find((overview) => hasStock(overview, 3));

    await page.getByRole('searchbox', { name: 'Search by name' }).fill(overview.product.name);
    await page.keyboard.press('Enter');
    await page.locator('.card a', { hasText: overview.product.name }).first().click();
    await page.getByRole('heading', { level: 1, name: overview.product.name }).waitFor();
    // Several products may have this name.
    await page.goto(`${address()}?product=${overview.product.id}`);
    await settled(page);

    await chooseSize(page, overview, 3);
    await page.getByRole('button', { name: 'Quantity: one more' }).click();
    await page.getByRole('button', { name: 'Add to cart' }).click();
    await page.getByRole('link', { name: 'View cart' }).click();
    await page.getByRole('heading', { level: 1, name: 'Your cart' }).waitFor();
    await settled(page);
    assert.equal(page.url(), `${address()}?cart`);
    assert.equal(await page.locator('.line').count(), 1);
    assert.equal(await page.locator('.line input').inputValue(), '2');
    assert.equal(await text(page, '#badge'), '2');

    await page.getByRole('button', { name: 'Empty the cart' }).click();
    await page.getByRole('heading', { level: 1, name: 'Your cart is empty' }).waitFor();
    await page.reload();
    await page.getByRole('heading', { level: 1, name: 'Your cart is empty' }).waitFor();
    assert.deepEqual(tab.problems, []);
    await tab.close();
  });
}

for (const [name, prefix] of [
  ['a folder of its own', '/v1/'],
  ['another origin', undefined],
]) {
  test(`the API can have ${name} as its base address`, async (t) => {
    const api = prefix === undefined ? shop.fleet.host : prefix.slice(1);
    const policy = PAGE_POLICY.replace(
      "connect-src 'self'",
      prefix === undefined ? `connect-src ${shop.fleet.host}` : "connect-src 'self'",
    );
    const server = await startPage({ api, policy, prefix, service: shop.fleet.host });
    t.after(server.stop);
    const tab = await open(`${server.address}/`, { origins: [shop.fleet.host] });
    const overview = find((overview) => hasStock(overview));
    await add(tab.page, overview);
    // Another origin cannot use the cookie of the API, so the page identifies the cart itself.
    await tab.page.goto(`${server.address}/?cart`);
    await settled(tab.page);
    assert.equal(await text(tab.page, '.line h2'), overview.product.name);
    assert.deepEqual(tab.problems, []);
    const base = prefix === undefined ? shop.fleet.host : `${server.address}/v1`;
    assert.ok(tab.requests.includes(`GET ${base}/cart/lines`), tab.requests.join('\n'));
    await tab.close();
  });
}

test('the open product is revalidated on each visit, and a list is not', async () => {
  const tab = await open(at());
  const { page } = tab;
  const {
    product: { id },
  } = shop.overviews[1];
  const received = (pathname) => shop.distribution.requests.filter(({ url }) => url === pathname);
  const visit = async () => {
    await page.goto(at(`?product=${id}`));
    await settled(page);
    await page.goto(at());
    await settled(page);
  };
  shop.distribution.requests.length = 0;
  await visit();
  await visit();
  const overview = received(`/products/${id}/overview`);
  assert.equal(overview.length, 2);
  assert.equal(overview[0].headers['if-none-match'], undefined);
  assert.match(overview[1].headers['if-none-match'], /^W\/"/);
  assert.deepEqual(received('/cards?page=1&count=24'), []); // fetched before, and fresh for a minute
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('a host and the distribution send the page with the same policy', async () => {
  const { headers } = await fetch(`${shop.fleet.host}/`);
  assert.equal(headers.get('content-security-policy'), PAGE_POLICY);
  const template = await readFile(path.resolve(import.meta.dirname, '../../template.yaml'), 'utf8');
  const policies = [...template.matchAll(/ContentSecurityPolicy: >-\n((?: {14}.*\n)+)/g)];
  assert.ok(policies.map(([, policy]) => policy.trim().replace(/\s+/g, ' ')).includes(PAGE_POLICY));
});

test('without JavaScript, the page says at once that it needs it', async () => {
  const context = await shop.browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(at());
  assert.equal(await text(page, 'h1'), 'The shop has not loaded');
  assert.match(await text(page, '.state-text'), /^It needs JavaScript/);
  assert.equal(await page.getByRole('searchbox').isVisible(), false);
  await context.close();
});

test('if the script does not arrive, the page says so after a while, and can be reloaded', async () => {
  const context = await shop.browser.newContext({ reducedMotion: 'reduce' });
  const page = await context.newPage();
  const heading = page.getByRole('heading', { level: 1, name: 'The shop has not loaded' });
  await page.route('**/app.js', (route) => route.abort());
  await page.goto(at('?category=Boots'));
  assert.equal(await heading.isVisible(), false);
  await heading.waitFor();
  await page.unrouteAll();
  await page.getByRole('link', { name: 'Reload' }).click();
  await page.getByRole('heading', { level: 1, name: 'Boots' }).waitFor();
  assert.equal(page.url(), at('?category=Boots'));
  await context.close();
});
