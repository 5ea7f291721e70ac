// Tests each view of the product page with axe, its width, its bytes, and what moves in it, in Chromium. `make test-page` runs them.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { add, at, change, find, hasStock, open, settled, shop, shownStyle } from './shop.mjs';

const axe = await readFile(path.resolve(import.meta.dirname, 'node_modules/axe-core/axe.min.js'), 'utf8');

/** Finds no violation with axe, and nothing wider than the window. */
async function check(page, view) {
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
}

for (const [colorScheme, width] of [
  ['light', 1280],
  ['light', 360],
  ['dark', 1280],
  ['dark', 360],
]) {
  test(`axe finds no violation and nothing is too wide, ${colorScheme}, at ${width} pixels`, async () => {
    const tab = await open(at(), { colorScheme, viewport: { width, height: 740 } });
    const { page } = tab;
    const visit = async (query) => {
      await page.goto(at(query));
      await settled(page);
      await check(page, query);
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
    await check(page, 'the error of a missing size');
    await page.locator('.stage').click();
    await check(page, 'an enlarged photo');
    await page.keyboard.press('Escape');
    await add(page, overview, 3);
    await check(page, 'an addition');
    await add(
      page,
      find((of) => of !== overview && hasStock(of)),
    );
    await visit('?cart');
    await page.getByRole('button', { name: 'Remove' }).first().click();
    await page.getByRole('button', { name: 'Undo' }).waitFor();
    await check(page, 'an offer to undo');
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

for (const [name, address, queries] of [
  ['beside the functions', at, ['', '?category=Boots', '?product=', '?cart']],
  ['on a host', (query) => `${shop.fleet.host}/${query}`, ['', '?product=', '?cart']],
  ['through NGINX', (query) => `${shop.fleet.balancer}/${query}`, ['', '?product=', '?cart']],
]) {
  test(`${name}, a view transfers at most 60 KB without pictures, and axe finds no violation`, async (t) => {
    const { product } = find(({ styles, related }) => styles.results.length >= 3 && related.length >= 4);
    for (const query of queries) {
      const url = address(query === '?product=' ? `?product=${product.id}` : query);
      const tab = await open('about:blank', { origins: [new URL(url).origin] });
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
      await page.goto(url, { waitUntil: 'networkidle' });
      await settled(page);
      const all = [...sizes.values()].filter((response) => response.url.startsWith(new URL(url).origin));
      const bytes = all.reduce((sum, { bytes }) => sum + bytes, 0);
      t.diagnostic(`/${query}: ${bytes} bytes in ${all.length} requests`);
      assert.ok(all.length >= 4, JSON.stringify(all));
      assert.ok(bytes <= 60_000, JSON.stringify(all));
      await check(page, url);
      assert.deepEqual(tab.problems, []);
      await tab.close();
    }
  });
}

test('the dark colour scheme has other colours', async () => {
  const colours = async (colorScheme) => {
    const tab = await open(at(), { colorScheme });
    const found = await tab.page.evaluate(() => {
      const { backgroundColor, color } = getComputedStyle(document.documentElement);
      return [backgroundColor, color, getComputedStyle(document.querySelector('#q')).backgroundColor];
    });
    await tab.close();
    return found;
  };
  const light = await colours('light');
  const dark = await colours('dark');
  light.forEach((colour, i) => assert.notEqual(colour, dark[i]));
});

test('a column of styles and sizes that is taller than the window scrolls', async () => {
  const { product } = find((overview) => hasStock(overview));
  const tab = await open(at(), { viewport: { width: 1280, height: 640 } });
  const { page } = tab;
  await change(page, `/products/${product.id}/overview`, ({ styles }) => {
    const [style] = styles.results;
    const [sku] = Object.values(style.skus);
    style.skus = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [i + 1, { ...sku, size: `Size ${i}` }]));
  });
  await page.goto(at(`?product=${product.id}`));
  await settled(page);
  const column = await page.locator('.buy').evaluate(({ offsetHeight, scrollHeight, scrollWidth, clientWidth }) => ({
    isWhole: offsetHeight <= window.innerHeight,
    scrolls: scrollHeight > offsetHeight,
    isTooWide: scrollWidth > clientWidth,
  }));
  assert.deepEqual(column, { isWhole: true, scrolls: true, isTooWide: false });
  await page.evaluate(() => window.scrollTo(0, 200));
  await page.getByRole('button', { name: /^(Add to cart|Sold out)$/ }).scrollIntoViewIfNeeded();
  assert.equal(await page.evaluate(() => window.scrollY), 200);
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('the column of styles and sizes ends above the related products', async () => {
  const { product } = find((overview) => hasStock(overview) && overview.related.length > 3);
  for (const width of [800, 1280]) {
    const tab = await open(at(`?product=${product.id}`), { viewport: { width, height: 900 } });
    const { page } = tab;
    await page.locator('.related .card a').first().waitFor();
    await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
    const gap = await page.evaluate(() => {
      const box = (selector) => document.querySelector(selector).getBoundingClientRect();
      return box('.related').top - box('.buy').bottom;
    });
    assert.ok(gap >= 0, `they overlap by ${-gap} pixels at ${width}`);
    assert.deepEqual(tab.problems, []);
    await tab.close();
  }
});

test('nothing moves when late responses arrive', async () => {
  const {
    product: { id },
  } = find((overview) => hasStock(overview) && shownStyle(overview).photos.length > 1);
  for (const viewport of [
    { width: 1280, height: 800 },
    { width: 360, height: 740 },
  ]) {
    for (const [query, picture] of [
      ['', '.card-picture'],
      ['?category=Boots', '.card-picture'],
      [`?product=${id}`, '.stage'],
      ['?cart', '.line-picture'],
    ]) {
      const tab = await open(at(), { viewport });
      const { page } = tab;
      await add(
        page,
        find((overview) => hasStock(overview) && overview.product.id !== id),
      ); // for the view of the cart
      await page.addInitScript(() => {
        window.shift = 0;
        new PerformanceObserver((list) => {
          for (const entry of list.getEntries()) window.shift += entry.value;
        }).observe({ type: 'layout-shift', buffered: true });
      });
      const place = () =>
        page.evaluate((picture) => {
          const { x, y, width, height } = document.querySelector(picture).getBoundingClientRect();
          return [x, y, width, height].map(Math.round);
        }, picture);
      const painted = () =>
        page.evaluate(
          () =>
            new Promise((resolve) => {
              requestAnimationFrame(() => requestAnimationFrame(resolve));
            }),
        );
      // Each response waits until the skeleton has been painted.
      let skeleton;
      await page.route(
        (url) => /^\/(cards|categories|products|cart)/.test(url.pathname),
        async (route) => {
          await page.locator('.bone').first().waitFor({ state: 'attached' });
          await painted();
          skeleton ??= await place();
          await route.continue();
        },
      );
      await page.goto(at(query));
      await settled(page);
      await painted();
      assert.deepEqual(await place(), skeleton, `${query} at ${viewport.width}`);
      const shift = await page.evaluate(() => window.shift);
      assert.ok(shift < 0.05, `${query} at ${viewport.width}: ${shift}`);
      await tab.close();
    }
  }
});

test('reduced motion stops animations and transitions', async () => {
  const moves = async (reducedMotion) => {
    const tab = await open(at(), { reducedMotion });
    const duration = await tab.page
      .locator('.card .picture')
      .first()
      .evaluate((picture) => getComputedStyle(picture).transitionDuration);
    await tab.close();
    return duration !== '0s';
  };
  assert.equal(await moves('no-preference'), true);
  assert.equal(await moves('reduce'), false);
});
