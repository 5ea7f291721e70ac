// Tests each view of the product page with axe, its width, and its bytes, in Chromium. `make test-page` runs them.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { add, at, change, find, hasStock, open, settled, shop } from './shop.mjs';

const axe = await readFile(path.resolve(import.meta.dirname, 'node_modules/axe-core/axe.min.js'), 'utf8');

for (const [colorScheme, width] of [
  ['light', 1280],
  ['light', 360],
  ['dark', 1280],
  ['dark', 360],
]) {
  test(`axe finds no violation and nothing is too wide, ${colorScheme}, at ${width} pixels`, async () => {
    const tab = await open(at(), { colorScheme, viewport: { width, height: 740 } });
    const { page } = tab;
    const check = async (view) => {
      const { violations } = await page.evaluate(`${axe}; axe.run(document, { resultTypes: ['violations'] })`);
      assert.deepEqual(
        violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`),
        [],
        view,
      );
      const tooWide = await page.evaluate(
        () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
      );
      assert.equal(tooWide, 0, `${view} is ${tooWide} pixels too wide`);
    };
    const visit = async (query) => {
      await page.goto(at(query));
      await settled(page);
      await check(query);
    };
    const overview = find(
      (overview) =>
        hasStock(overview, 3) &&
        overview.styles.results.length > 1 &&
        overview.related.length > 3 &&
        overview.product.features.length > 0,
    );
    await visit('');
    await visit('?page=3');
    await visit('?category=Boots');
    await visit('?q=qqqq');
    await visit('?cart');
    await visit(`?product=${find(({ styles }) => styles.results.length === 0).product.id}`);
    await visit(`?product=${overview.product.id}`);
    await page.getByRole('button', { name: 'Add to cart' }).click();
    await check('the error of a missing size');
    await page.locator('.stage').click();
    await check('an enlarged photo');
    await page.keyboard.press('Escape');
    await add(page, overview, 3);
    await check('an addition');
    await add(
      page,
      find((of) => of !== overview && hasStock(of)),
    );
    await visit('?cart');
    await page.getByRole('button', { name: 'Remove' }).first().click();
    await page.getByRole('button', { name: 'Undo' }).waitFor();
    await check('an offer to undo');
    await change(page, `/products/${overview.product.id}/overview`, ({ product, styles }) => {
      product.name = 'x'.repeat(200);
      product.slogan = product.category = product.features[0].value = 'y'.repeat(100);
      for (const style of styles.results) style.name = 'z'.repeat(100);
      Object.values(styles.results[0].skus)[0].size = 's'.repeat(100);
    });
    await visit(`?product=${overview.product.id}`);
    await visit('?product=2147483647');
    await page.route(
      (url) => url.pathname === '/cards',
      (route) => route.abort(),
    );
    await visit('');
    assert.deepEqual(tab.problems, ['404 of GET /products/2147483647/overview']);
    await tab.close();
  });
}

test('a view transfers at most 60 KB without pictures', async (t) => {
  const overview = find(({ styles, related }) => styles.results.length >= 3 && related.length >= 4);
  for (const query of ['', '?category=Boots', `?product=${overview.product.id}`, '?cart']) {
    const tab = await open('about:blank');
    const { page } = tab;
    const session = await page.context().newCDPSession(page);
    await session.send('Network.enable');
    const sizes = new Map();
    session.on('Network.responseReceived', ({ requestId, response }) =>
      sizes.set(requestId, { url: response.url, bytes: 0 }),
    );
    session.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => {
      if (sizes.has(requestId)) sizes.get(requestId).bytes = encodedDataLength;
    });
    await page.goto(at(query), { waitUntil: 'networkidle' });
    await settled(page);
    const all = [...sizes.values()].filter(({ url }) => url.startsWith(shop.distribution.address));
    const bytes = all.reduce((sum, { bytes }) => sum + bytes, 0);
    t.diagnostic(`/${query}: ${bytes} bytes in ${all.length} requests`);
    assert.ok(all.length >= 4, JSON.stringify(all));
    assert.ok(bytes <= 60_000, JSON.stringify(all));
    await tab.close();
  }
});
