// Tests the way from view to view, and errors, in Chromium. `make test-page` runs them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { at, find, hold, open, openScrolled, problem, settled, shop, text } from './shop.mjs';

const categoryLink = (page, category) =>
  page.getByRole('navigation', { name: 'Categories' }).getByRole('link', { name: category });

test('a response with Retry-After is repeated once, and an error can be retried', async () => {
  const tab = await open(at());
  const { page } = tab;
  let requests = 0;
  let failures = 1;
  await page.route(
    (url) => url.pathname === '/cards',
    (route) => {
      requests += 1;
      if (requests > failures) return route.continue();
      return route.fulfill(problem(503, 'The database is unavailable.', { 'retry-after': '0' }));
    },
  );
  await page.goto(at('?page=2'));
  await page.locator('.card a').first().waitFor();
  assert.equal(requests, 2);

  requests = 0;
  failures = 2;
  await page.goto(at('?page=3'));
  await page.getByRole('heading', { level: 1, name: 'One moment, please' }).waitFor();
  assert.equal(await text(page, '.state-text'), 'The database is unavailable.');
  assert.equal(await text(page, '.state .small'), 'Request abc123');
  assert.equal(requests, 2);
  await page.getByRole('button', { name: 'Try again' }).click();
  await page.locator('.card a').first().waitFor();
  assert.equal(await text(page, '.here'), 'Page 3 of 5');

  await page.unrouteAll();
  await page.route(
    (url) => url.pathname === '/cards',
    (route) => route.abort(),
  );
  await page.goto(at('?page=4'));
  await page.getByRole('heading', { level: 1, name: 'No connection' }).waitFor();
  // Related products that fail do not take the product with them.
  const overview = find(({ related, product }) => related.some((id) => id !== product.id));
  await page.goto(at(`?product=${overview.product.id}`));
  await page.getByText('These pieces could not be loaded.').waitFor();
  assert.equal(await text(page, 'h1'), overview.product.name);
  assert.equal(await page.locator('.related [aria-busy]').count(), 0);
  const retry = page.getByRole('button', { name: 'Try again' });
  await retry.click();
  await page.waitForFunction(() => document.activeElement.textContent === 'Try again');
  await page.unrouteAll();
  await retry.press('Enter');
  await page.locator('.related a').first().waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.matches('.related .card:first-child a')), true);
  assert.deepEqual(tab.problems, Array(3).fill('503 of GET /cards'));
  await tab.close();
});

test('an unknown product, or an id that is none, leads back to the collection', async () => {
  const tab = await open(at('?product=2147483647'));
  const { page } = tab;
  assert.equal(await text(page, 'h1'), 'We do not have this piece');
  assert.equal(await page.title(), 'We do not have this piece · Atelier');
  await page.goto(at('?product=<b>'));
  await settled(page);
  assert.equal(await text(page, 'h1'), 'We do not have this piece');
  await page.locator('main').getByRole('link', { name: 'See the collection' }).click();
  await page.locator('.grid .card a').first().waitFor();
  assert.deepEqual(tab.problems, ['404 of GET /products/2147483647/overview']);
  await tab.close();
});

test('Back returns to the place in the list, with its focus, and forward to the product', async () => {
  const tab = await open(at());
  const { page } = tab;
  const { href, scrolled } = await openScrolled(page);
  const name = shop.overviews.find(({ product }) => href === `?product=${product.id}`).product.name;
  await page.getByRole('heading', { level: 1, name }).waitFor();
  assert.equal(await page.title(), `${name} · Atelier`);
  assert.equal(await page.evaluate(() => window.scrollY), 0);
  assert.equal(await page.evaluate(() => document.activeElement.tagName), 'H1');
  assert.equal(await text(page, '#live'), name);

  await page.goBack();
  await page.locator('.grid .card a').first().waitFor();
  await page.waitForFunction((href) => document.activeElement.getAttribute('href') === href, href);
  assert.equal(await page.evaluate(() => window.scrollY), scrolled);
  assert.equal(await page.title(), 'Atelier');
  await page.goForward();
  await page.getByRole('heading', { level: 1, name }).waitFor();
  assert.equal(page.url(), at(href));
  // A reload keeps the place too, and the wordmark leads to the top of the start page.
  await page.evaluate(() => window.scrollTo(0, 200));
  await page.waitForFunction(() => history.state?.scroll === 200);
  await page.reload();
  await settled(page);
  assert.equal(await page.evaluate(() => window.scrollY), 200);
  await page.getByRole('banner').getByRole('link', { name: 'Atelier' }).click();
  await page.locator('.grid .card a').first().waitFor();
  assert.equal(page.url(), at());
  assert.equal(await page.evaluate(() => window.scrollY), 0);
  const entries = await page.evaluate(() => history.length);
  await page.getByRole('banner').getByRole('link', { name: 'Atelier' }).click();
  await settled(page);
  assert.equal(await page.evaluate(() => history.length), entries);
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('another try after a failed Back returns to the place in the list', async () => {
  const tab = await open(at());
  const { page } = tab;
  const { href, scrolled } = await openScrolled(page);
  await page.route(
    (url) => url.pathname === '/cards',
    (route) => route.abort(),
  );
  await page.goBack();
  await page.getByRole('heading', { level: 1, name: 'No connection' }).waitFor();
  await page.waitForTimeout(200); // longer than the page waits before it keeps a position
  await page.unrouteAll();
  await page.getByRole('button', { name: 'Try again' }).click();
  await page.waitForFunction((href) => document.activeElement.getAttribute('href') === href, href);
  assert.equal(await page.evaluate(() => window.scrollY), scrolled);
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('a late view does not take the focus out of the search', async () => {
  const tab = await open(at());
  const { page } = tab;
  const release = await hold(page, 'GET /products');
  const { category } = shop.overviews[0].product;
  await categoryLink(page, category).click();
  const field = page.getByRole('searchbox');
  await field.pressSequentially('bar');
  release();
  await settled(page);
  assert.equal(await text(page, '.card .label'), category.toUpperCase());
  await page.keyboard.type('ge');
  assert.equal(await field.inputValue(), 'barge');
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('a slow view does not replace the next one', async () => {
  const tab = await open(at());
  const { page } = tab;
  const [first, second] = new Set(shop.overviews.map(({ product }) => product.category));
  const release = await hold(page, 'GET /products', 1);
  await Promise.all([
    page.waitForRequest((request) => new URL(request.url()).pathname === '/products'),
    categoryLink(page, first).click(),
  ]);
  await categoryLink(page, second).click();
  await settled(page);
  release();
  await page.waitForTimeout(500);
  assert.equal(page.url(), at(`?category=${second}`));
  assert.equal(await page.title(), `${second} · Atelier`);
  assert.equal(await text(page, 'h1'), second);
  assert.deepEqual([...new Set(await page.locator('.card .label').allTextContents())], [second]);
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('a style that is chosen after a link was followed does not change the address', async () => {
  const { product } = find(({ styles }) => styles.results.length > 1);
  const tab = await open(at(`?product=${product.id}`));
  const { page } = tab;
  await page.evaluate(() => {
    document.querySelector('.trail a:last-child').click();
    document.querySelector('input[name="style"]:not(:checked)').click();
  });
  await settled(page);
  assert.equal(await text(page, 'h1'), product.category);
  assert.equal(page.url(), at(`?category=${product.category}`));
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('the keyboard skips to the content, and a modified click opens another tab', async () => {
  const tab = await open(at());
  const { page } = tab;
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to content');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
  await page.getByRole('navigation', { name: 'Categories' }).waitFor();
  await page.keyboard.press('Tab');
  assert.equal(
    await page.evaluate(() => document.activeElement.closest('nav').getAttribute('aria-label')),
    'Categories',
  );
  // The whole card is marked, because the whole card is the link.
  const card = page.locator('.card a').first();
  await card.focus();
  assert.equal(await card.evaluate((link) => getComputedStyle(link, '::after').outlineStyle), 'solid');
  const [other] = await Promise.all([
    page.context().waitForEvent('page'),
    page
      .locator('.card a')
      .first()
      .click({ modifiers: ['Control'] }),
  ]);
  await other.locator('.buy h1').waitFor();
  assert.equal(page.url(), at());
  assert.deepEqual(tab.problems, []);
  await tab.close();
});
