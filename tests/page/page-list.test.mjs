// Tests the lists of the product page, in Chromium. `make test-page` runs them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { at, change, hold, open, settled, shop, text } from './shop.mjs';

test('the list shows products by page, with the total and links to the first and last page', async () => {
  const tab = await open(at());
  const { page } = tab;
  assert.equal(await page.title(), 'Atelier');
  assert.equal(await page.locator('.card').count(), 24);
  assert.equal(await text(page, '.range'), '1–24 of 100 pieces');
  assert.equal(await text(page, '.here'), 'Page 1 of 5');
  assert.equal(await page.getByRole('link', { name: 'First page' }).count(), 0);
  assert.equal(await text(page, '.card h2'), shop.overviews[0].product.name);
  // Cards, categories and the cart: three requests for the list, and none for each product.
  assert.deepEqual(
    tab.requests.filter((request) => !request.includes('/page/')).sort(),
    [`GET ${at()}`, `GET ${at('cards?page=1&count=24')}`, `GET ${at('cart')}`, `GET ${at('categories')}`].sort(),
  );

  await page.getByRole('link', { name: 'Next page' }).click();
  await page.getByText('25–48 of 100 pieces').first().waitFor();
  assert.equal(page.url(), at('?page=2'));
  assert.equal(await page.title(), 'The collection, page 2 · Atelier');
  assert.equal(await page.evaluate(() => window.scrollY), 0);

  await page.getByRole('link', { name: 'Last page' }).click();
  await page.getByText('97–100 of 100 pieces').first().waitFor();
  assert.equal(await page.locator('.card').count(), 4);
  assert.equal(await page.getByRole('link', { name: 'Next page' }).count(), 0);
  await page.getByRole('link', { name: 'First page' }).click();
  await page.getByText('1–24 of 100 pieces').first().waitFor();
  assert.equal(page.url(), at());

  await page.goto(at('?page=9'));
  await page.getByRole('heading', { level: 1, name: 'There is no page 9' }).waitFor();
  await page.getByRole('link', { name: 'Go to the first page' }).click();
  await page.getByText('1–24 of 100 pieces').first().waitFor();
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('a category filters the list, by page, at an address that can be shared', async () => {
  const categories = await (await fetch(`${shop.fleet.host}/categories`)).json();
  const { category, products } = categories[0];
  const tab = await open(at('?q=zzzz'));
  const { page } = tab;
  const nav = page.getByRole('navigation', { name: 'Categories' });
  await nav.waitFor();
  assert.equal(await nav.getByRole('link').count(), categories.length + 1);
  await nav.getByRole('link', { name: `${category} ${products}` }).click();
  await page.getByRole('heading', { level: 1, name: category }).waitFor();
  await settled(page);
  assert.equal(page.url(), at(`?category=${category}`));
  assert.equal(await page.title(), `${category} · Atelier`);
  assert.equal(await page.locator('.card').count(), Math.min(products, 24));
  assert.deepEqual([...new Set(await page.locator('.card .label').allTextContents())], [category]);
  assert.equal((await nav.locator('[aria-current="page"]').innerText()).split('\n')[0], category);

  await page.goto(at(`?category=${category}&page=2`));
  await page.getByRole('heading', { level: 1, name: 'There is no page 2' }).waitFor();
  await page.goto(at('?category=Nothing+%26+%3Cb%3E'));
  await page.getByRole('heading', { level: 1, name: 'Nothing in “Nothing & <b>”' }).waitFor();
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('the current category is in view, at the gutter of narrow screens', async () => {
  const names = (await (await fetch(`${shop.fleet.host}/categories`)).json()).map(({ category }) => category);
  const boxes = (page) =>
    page.evaluate(() => {
      const box = (selector) => document.querySelector(selector).getBoundingClientRect().toJSON();
      return { current: box('.categories [aria-current]'), nav: box('.categories'), heading: box('h1') };
    });
  for (const width of [360, 500, 800]) {
    const tab = await open(at(`?category=${names[2]}`), { viewport: { width, height: 740 } });
    await tab.page.locator('.categories [aria-current]').waitFor();
    const { current, heading } = await boxes(tab.page);
    assert.equal(Math.round(current.left), Math.round(heading.left), `at ${width}`);
    await tab.close();
  }
  const tab = await open(at(`?category=${names.at(-1)}`), { viewport: { width: 1280, height: 600 } });
  await tab.page.locator('.categories [aria-current]').waitFor();
  const { current, nav } = await boxes(tab.page);
  assert.ok(current.top >= nav.top && current.bottom <= nav.bottom && nav.bottom <= 600, JSON.stringify({ current, nav }));
  await tab.close();
});

test('long texts of an address are cut', async () => {
  const tab = await open(at(`?category=${'x'.repeat(3000)}`));
  const { page } = tab;
  assert.equal(await text(page, 'h1'), `Nothing in “${'x'.repeat(60)}…”`);
  assert.equal(await page.title(), `${'x'.repeat(60)}… · Atelier`);
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('the list does not wait for the categories, and each list shows them as they are', async () => {
  const tab = await open(at());
  const { page } = tab;
  const nav = page.getByRole('navigation', { name: 'Categories' });
  const release = await hold(page, 'GET /categories');
  await page.goto(at());
  await settled(page);
  assert.equal(await text(page, '.range'), '1–24 of 100 pieces');
  assert.equal(await nav.count(), 0);
  const card = page.locator('.card').first();
  const place = await card.boundingBox();
  release();
  await nav.waitFor();
  assert.deepEqual(await card.boundingBox(), place);

  const [{ category }] = await (await fetch(`${shop.fleet.host}/categories`)).json();
  await change(page, '/categories', (categories) => {
    categories[0].products = 1234;
  });
  await nav.getByRole('link', { name: category }).click();
  await nav.getByRole('link', { name: `${category} 1,234 pieces` }).waitFor();
  assert.equal((await nav.locator('[aria-current="page"]').innerText()).split('\n')[0], category);
  await page.unrouteAll();
  await page.route(
    (url) => url.pathname === '/categories',
    (route) => route.abort(),
  );
  await page.reload();
  await settled(page);
  await page.locator('.categories:empty').waitFor({ state: 'attached' });
  assert.equal(await nav.count(), 0);
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('markup in the catalog is text', async () => {
  const markup = '<img src=x onerror=violated("ran")><script>violated("ran")</script>';
  const { product } = shop.overviews[0];
  const tab = await open(at());
  const { page } = tab;
  await change(page, '/cards', (cards) => {
    for (const card of cards) card.name = card.category = markup;
  });
  await change(page, '/categories', (categories) => {
    categories[0].category = markup;
  });
  await change(page, `/products/${product.id}/overview`, ({ product, styles }) => {
    product.name = product.slogan = product.description = product.category = markup;
    for (const style of styles.results) style.name = markup;
  });
  await page.goto(at());
  await page.getByRole('navigation', { name: 'Categories' }).getByText(markup).waitFor();
  assert.equal(await text(page, '.card h2'), markup);
  await page.goto(at(`?product=${product.id}`));
  await page.locator('.related .card a').first().waitFor();
  assert.equal(await text(page, 'h1'), markup);
  assert.equal(await page.title(), `${markup} · Atelier`);
  assert.equal(await page.locator('[onerror], body script').count(), 0);
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('a search finds names, and says what to do when it finds none', async () => {
  const tab = await open(at());
  const { page } = tab;
  const { name } = shop.overviews[4].product;
  const words = name
    .match(/[\p{L}\p{N}]{3,}/gu)
    .slice(0, 2)
    .map((word) => word.slice(0, 4));
  const field = page.getByRole('searchbox');
  await field.fill(words.join(' '));
  await page.getByRole('button', { name: 'Search' }).click();
  await page.getByRole('heading', { level: 1, name: `“${words.join(' ')}”` }).waitFor();
  await settled(page);
  assert.ok((await page.locator('.card h2').allTextContents()).includes(name));
  assert.equal(page.url(), at(`?q=${words.map(encodeURIComponent).join('+')}`));

  await field.fill('qqqq');
  await field.press('Enter');
  await page.getByRole('heading', { level: 1, name: 'Nothing is called “qqqq”' }).waitFor();
  assert.equal(await page.locator('.list-head').count(), 0);
  // Fewer letters than the API accepts are not sent, and neither are more.
  tab.requests.length = 0;
  await field.fill('a b');
  await field.press('Enter');
  await page.getByRole('heading', { level: 1, name: 'Three letters, at least' }).waitFor();
  await field.fill('y'.repeat(200));
  await field.press('Enter');
  await page.getByRole('heading', { level: 1, name: 'This word is too long' }).waitFor();
  assert.deepEqual(tab.requests, Array(2).fill(`GET ${at('categories')}`));

  await page.goBack();
  await page.getByRole('heading', { level: 1, name: 'Three letters, at least' }).waitFor();
  await page.goBack();
  await page.getByRole('heading', { level: 1, name: 'Nothing is called “qqqq”' }).waitFor();
  assert.equal(await field.inputValue(), 'qqqq');
  assert.deepEqual(tab.problems, []);
  await tab.close();
});
