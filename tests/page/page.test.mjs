// Tests the product page in Chromium, on each way to serve it. `make test-page` runs them.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { launch, open, settled } from './browser.mjs';
import { PAGE_POLICY, startBelow, startDistribution, startFleet, startPage } from './servers.mjs';

let browser, fleet, distribution, below, overviews, axe;

before(async () => {
  fleet = await startFleet();
  distribution = await startDistribution({ page: PAGE_POLICY }, fleet.host);
  below = await startBelow('/shop', distribution.address);
  browser = await launch();
  axe = await readFile(path.resolve(import.meta.dirname, 'node_modules/axe-core/axe.min.js'), 'utf8');
  const cards = await (await fetch(`${fleet.host}/cards?count=100`)).json();
  overviews = await Promise.all(
    cards.map(async ({ id }) => (await fetch(`${fleet.host}/products/${id}/overview`)).json()),
  );
});

after(async () => {
  await browser?.close();
  below?.stop();
  distribution?.stop();
  await fleet?.stop();
});

const at = (query = '') => `${distribution.address}/${query}`;

/** Returns the first product with what a test needs. */
function find(isFit) {
  const found = overviews.find(isFit);
  assert.ok(found, `no product has ${isFit}`);
  return found;
}

const skus = (style) =>
  Object.entries(style.skus)
    .filter(([id]) => id !== 'null')
    .map(([id, sku]) => ({ id: Number(id), ...sku }));
const shownStyle = ({ styles }) => styles.results.find((style) => style['default?']) ?? styles.results[0];
const hasStock = (overview, min = 1) =>
  skus(shownStyle(overview) ?? { skus: {} }).some(({ quantity }) => quantity >= min);

/** Chooses a size with at least some pieces, and returns its sku. */
async function chooseSize(page, overview, min = 1) {
  const sku = skus(shownStyle(overview)).find(({ quantity }) => quantity >= min);
  await page.locator(`input[name="size"][value="${sku.id}"]`).check({ force: true });
  return sku;
}

/** Adds a piece of a product to the cart of a tab, and returns its sku. */
async function add(page, overview, min = 1) {
  await page.goto(new URL(`?product=${overview.product.id}`, page.url()).href);
  await settled(page);
  const sku = await chooseSize(page, overview, min);
  await page.getByRole('button', { name: 'Add to cart' }).click();
  await page.locator('.added').waitFor();
  return sku;
}

/** Changes the response of a path. */
async function change(page, pathname, edit) {
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

const text = (page, selector) => page.locator(selector).first().innerText();

/** The text without double blanks. */
const line = async (page, selector) => (await text(page, selector)).replace(/\s+/g, ' ').trim();

for (const [name, address] of [
  ['as files beside the functions', () => `${distribution.address}/`],
  ['below a base path', () => `${below.address}/shop/`],
]) {
  test(`${name}, a visitor finds a product, fills a cart, and empties it`, async () => {
    const tab = await open(browser, address());
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
  test(`the API can have ${name} as its base address`, async () => {
    const api = prefix === undefined ? fleet.host : prefix.slice(1);
    const policy = PAGE_POLICY.replace(
      "connect-src 'self'",
      prefix === undefined ? `connect-src ${fleet.host}` : "connect-src 'self'",
    );
    const server = await startPage({ api, policy, prefix, service: fleet.host });
    const tab = await open(browser, `${server.address}/`, { origins: [fleet.host] });
    const overview = find((overview) => hasStock(overview));
    await add(tab.page, overview);
    // Another origin cannot use the cookie of the API, so the page identifies the cart itself.
    await tab.page.goto(`${server.address}/?cart`);
    await tab.page.locator('.line').waitFor();
    assert.equal(await text(tab.page, '.line h2'), overview.product.name);
    assert.deepEqual(tab.problems, []);
    const base = prefix === undefined ? fleet.host : `${server.address}/v1`;
    assert.ok(tab.requests.includes(`GET ${base}/cart/lines`), tab.requests.join('\n'));
    await tab.close();
    server.stop();
  });
}

test('the list shows products by page, with the total and links to the first and last page', async () => {
  const tab = await open(browser, at());
  const { page } = tab;
  assert.equal(await page.title(), 'Atelier');
  assert.equal(await page.locator('.card').count(), 24);
  assert.equal(await text(page, '.range'), '1–24 of 100 pieces');
  assert.equal(await text(page, '.here'), 'Page 1 of 5');
  assert.equal(await page.getByRole('link', { name: 'First page' }).count(), 0);
  assert.equal(await text(page, '.card h2'), overviews[0].product.name);
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
  const categories = await (await fetch(`${fleet.host}/categories`)).json();
  const { category, products } = categories[0];
  const tab = await open(browser, at('?q=zzzz'));
  const { page } = tab;
  const nav = page.getByRole('navigation', { name: 'Categories' });
  assert.equal(await nav.getByRole('link').count(), categories.length + 1);
  await nav.getByRole('link', { name: `${category} ${products}` }).click();
  await page.getByRole('heading', { level: 1, name: category }).waitFor();
  await page.locator('.card').first().waitFor();
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

test('a search finds names, and says what to do when it finds none', async () => {
  const tab = await open(browser, at());
  const { page } = tab;
  const { name } = overviews[4].product;
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
  // Fewer letters than the API accepts are not sent.
  tab.requests.length = 0;
  await field.fill('a b');
  await field.press('Enter');
  await page.getByRole('heading', { level: 1, name: 'Three letters, at least' }).waitFor();
  assert.deepEqual(tab.requests, []);

  await page.goBack();
  await page.getByRole('heading', { level: 1, name: 'Nothing is called “qqqq”' }).waitFor();
  assert.equal(await field.inputValue(), 'qqqq');
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('a product has its photos, which arrows turn and a dialog enlarges', async () => {
  const overview = find((overview) => (shownStyle(overview)?.photos.length ?? 0) >= 3);
  const n = shownStyle(overview).photos.length;
  const tab = await open(browser, at(`?product=${overview.product.id}`), { pictures: true });
  const { page } = tab;
  const image = page.locator('.stage img');
  const thumbnails = page.locator('.thumbnails button');
  const name = `${overview.product.name} in ${shownStyle(overview).name}, photo`;
  assert.equal(await thumbnails.count(), n);
  await page.locator('.stage .is-loaded').waitFor();
  assert.equal(await image.getAttribute('alt'), `${name} 1 of ${n}`);
  assert.equal(await page.locator('.stage .cloth').isVisible(), false);

  const isCurrent = async (i) => {
    assert.equal(await image.getAttribute('alt'), `${name} ${i} of ${n}`);
    assert.equal(await thumbnails.nth(i - 1).getAttribute('aria-current'), 'true');
    assert.equal(await page.locator('.thumbnails [aria-current]').count(), 1);
  };
  await page.getByRole('button', { name: 'Next photo' }).click();
  await isCurrent(2);
  await page.keyboard.press('ArrowRight');
  await isCurrent(3);
  await page.keyboard.press('Home');
  await isCurrent(1);
  await page.keyboard.press('ArrowLeft');
  await isCurrent(n);
  assert.equal(await text(page, '#live'), `${name} ${n} of ${n}`);
  await thumbnails.nth(1).click();
  await isCurrent(2);

  await page.locator('.stage').press('Enter');
  const dialog = page.getByRole('dialog');
  await dialog.waitFor();
  await page.keyboard.press('ArrowRight');
  assert.equal(await dialog.locator('img').getAttribute('alt'), `${name} 3 of ${n}`);
  await page.keyboard.press('Escape');
  assert.equal(await dialog.isVisible(), false);
  assert.equal(await page.evaluate(() => document.activeElement.className), 'stage');
  await isCurrent(3);
  // Arrows elsewhere do not turn the photos.
  await page.getByRole('searchbox').press('ArrowRight');
  await isCurrent(3);
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('a swipe turns the photos', async () => {
  const overview = find((overview) => (shownStyle(overview)?.photos.length ?? 0) >= 2);
  const tab = await open(browser, at(`?product=${overview.product.id}`), {
    hasTouch: true,
    viewport: { width: 360, height: 740 },
  });
  const session = await tab.page.context().newCDPSession(tab.page);
  const { x, y, width } = await tab.page.locator('.stage').boundingBox();
  const touch = (type, at) =>
    session.send('Input.dispatchTouchEvent', { type, touchPoints: at === undefined ? [] : [{ x: at, y: y + 100 }] });
  await touch('touchStart', x + width - 20);
  await touch('touchMove', x + 40);
  await touch('touchEnd');
  await tab.page.locator('.thumbnails li:nth-child(2) [aria-current]').waitFor();
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('pictures that fail, or that are no HTTPS address, leave cloth in the colours of the style', async () => {
  const overview = find(
    (overview) => shownStyle(overview)?.photos[0].url !== null && overview.styles.results.length > 0,
  );
  const tab = await open(browser, at(`?product=${overview.product.id}`));
  const { page } = tab;
  const cloth = page.locator('.stage .cloth');
  await page.locator('.stage [role="img"]').waitFor();
  assert.equal(await page.locator('.stage img').count(), 0);
  assert.match(
    await cloth.getAttribute('aria-label'),
    new RegExp(`^${RegExp.escape?.(overview.product.name) ?? overview.product.name.slice(0, 3)}`),
  );
  assert.equal(await cloth.isVisible(), true);

  await change(page, `/products/${overview.product.id}/overview`, ({ styles }) => {
    for (const style of styles.results)
      style.photos = [{ thumbnail_url: 'uhttps://a.example/1', url: 'http://a.example/1' }];
  });
  await page.reload();
  await settled(page);
  assert.equal(await page.locator('.buy img, .gallery img').count(), 0);
  assert.equal(await page.locator('.stage [role="img"]').count(), 1);
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('a style changes photos, price and sizes, and its address opens it again', async () => {
  const overview = find(({ styles: { results } }) => results.length >= 3);
  const [style] = overview.styles.results.filter((style) => style !== shownStyle(overview));
  const tab = await open(browser, at());
  const { page } = tab;
  await page.evaluate((id) => {
    const link = document.querySelector('.card a');
    link.setAttribute('href', `?product=${id}`);
    link.click();
  }, overview.product.id);
  await page.locator('.swatch').first().waitFor();
  assert.equal(await text(page, '.chosen'), shownStyle(overview).name);
  await page.locator('.swatch', { hasText: style.name }).first().click();
  assert.equal(await text(page, '.chosen'), style.name);
  assert.equal(page.url(), at(`?product=${overview.product.id}&style=${style.style_id}`));
  assert.deepEqual(
    await page.locator('input[name="size"]').evaluateAll((inputs) => inputs.map(({ value }) => Number(value))),
    skus(style).map(({ id }) => id),
  );
  assert.match(await text(page, '#live'), new RegExp(`^${style.name}, .*\\$`));

  await page.reload();
  await settled(page);
  assert.equal(await text(page, '.chosen'), style.name);
  assert.equal(await page.locator('input[name="style"]:checked').inputValue(), String(style.style_id));
  // The styles that the visitor looked at are no steps of Back.
  await page.goBack();
  await page.locator('.grid .card').first().waitFor();
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('a price is struck through for a sale above 0 only', async () => {
  const amount = (style, name) => Number(style[name]).toLocaleString('en');
  const reduced = find((overview) => Number(shownStyle(overview)?.sale_price) > 0);
  const zero = find((overview) => shownStyle(overview)?.sale_price === '0');
  const tab = await open(browser, at(`?product=${reduced.product.id}`));
  const { page } = tab;
  const style = shownStyle(reduced);
  assert.match(
    await line(page, '.price-slot'),
    new RegExp(
      `^Sale price \\$${amount(style, 'sale_price')} Regular price \\$${amount(style, 'original_price')} −\\d+%$`,
    ),
  );
  assert.equal(
    await page.locator('.price-slot s').evaluate((s) => getComputedStyle(s).textDecorationLine),
    'line-through',
  );
  await page.goto(at(`?product=${zero.product.id}`));
  await settled(page);
  assert.equal(await line(page, '.price-slot'), `$${amount(shownStyle(zero), 'original_price')}`);
  assert.equal(await page.locator('.price-slot s').count(), 0);
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('sizes and quantities are limited by the stock and by what is in the cart', async () => {
  const overview = find((overview) => overview.styles.results.length > 0 && skus(shownStyle(overview)).length > 3);
  const [first, second, third] = skus(shownStyle(overview));
  const tab = await open(browser, at());
  const { page } = tab;
  await change(page, `/products/${overview.product.id}/overview`, (body) => {
    const { skus } = shownStyle(body);
    skus[first.id].quantity = 0;
    skus[second.id].quantity = 3;
    skus[third.id].quantity = 2147483647;
  });
  await page.goto(at(`?product=${overview.product.id}`));
  await settled(page);
  const size = (sku) => page.locator(`input[name="size"][value="${sku.id}"]`);
  const quantity = page.getByRole('spinbutton', { name: 'Quantity' });
  const more = page.getByRole('button', { name: 'Quantity: one more' });
  assert.equal(await size(first).isDisabled(), true);
  assert.equal(await page.getByRole('radio', { name: `${first.size} sold out` }).count(), 1);

  await page.getByRole('button', { name: 'Add to cart' }).click();
  assert.equal(await text(page, '.problem'), 'Choose a size first.');
  assert.equal(await size(second).evaluate((input) => input === document.activeElement), true);

  await size(second).check({ force: true });
  assert.equal(await page.locator('#size-problem').isVisible(), false);
  assert.equal(await text(page, '.stock'), 'Only 3 pieces left.');
  await quantity.fill('50');
  await quantity.press('Tab');
  assert.equal(await quantity.inputValue(), '3');
  assert.equal(await more.getAttribute('aria-disabled'), 'true');
  await more.click({ force: true });
  assert.equal(await quantity.inputValue(), '3');
  await page.getByRole('button', { name: 'Quantity: one less' }).click();
  await page.getByRole('button', { name: 'Add to cart' }).click();
  await page.locator('.added').waitFor();
  assert.match(await line(page, '.added'), /^2 × .* added\. View cart$/);
  assert.equal(await text(page, '.stock'), 'Only 3 pieces left. 2 in your cart.');
  assert.equal(await quantity.getAttribute('max'), '1');
  await page.getByRole('button', { name: 'Add to cart' }).click();
  await page.getByText('All that can be had are in your cart: 3.').waitFor();
  assert.equal(await page.getByRole('button', { name: 'Add to cart' }).isDisabled(), true);
  assert.equal(await quantity.isDisabled(), true);
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'View cart');

  await size(third).check({ force: true });
  assert.equal(await quantity.getAttribute('max'), '99'); // the limit of one POST
  assert.equal(await text(page, '#badge'), '3');
  assert.equal(await page.getByRole('link', { name: 'Cart 3 pieces' }).count(), 1);
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('what is sold out cannot be added', async () => {
  const overview = find((overview) => hasStock(overview));
  const tab = await open(browser, at());
  const { page } = tab;
  await change(page, `/products/${overview.product.id}/overview`, (body) => {
    for (const style of body.styles.results) for (const sku of Object.values(style.skus)) sku.quantity = 0;
  });
  await page.goto(at(`?product=${overview.product.id}`));
  await settled(page);
  assert.equal(await page.getByRole('button', { name: 'Sold out' }).isDisabled(), true);
  assert.equal(await text(page, '.stock'), 'This style is sold out.');
  assert.equal(await page.locator('input[name="size"]:enabled').count(), 0);

  const bare = find(({ styles }) => styles.results.length === 0);
  await page.goto(at(`?product=${bare.product.id}`));
  await settled(page);
  assert.equal(await page.getByRole('button', { name: 'Sold out' }).isDisabled(), true);
  assert.equal(await line(page, '.price-slot'), `$${Number(bare.product.default_price).toLocaleString('en')}`);
  assert.equal(await page.locator('.swatch, .pill').count(), 0);
  await page.goto(at());
  await settled(page);
  const card = page.locator('.card', { has: page.locator(`a[href="?product=${bare.product.id}"]`) });
  assert.equal(await card.locator('.flag').innerText(), 'Sold out');
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('a product has its features and, in one request, its related products', async () => {
  const overview = find(
    ({ product, related }) => new Set(related).size >= 3 && related.includes(product.id) && product.features.length > 0,
  );
  const { product, related } = overview;
  const tab = await open(browser, at(`?product=${product.id}`));
  const { page } = tab;
  const expected = [...new Set(related)].filter((id) => id !== product.id);
  await page.locator('.related:not(:has([aria-busy]))').waitFor();
  const links = await page.locator('.related a').evaluateAll((links) => links.map((link) => link.getAttribute('href')));
  assert.deepEqual(
    links,
    expected.map((id) => `?product=${id}`),
  );
  assert.deepEqual(
    tab.requests.filter((request) => !request.includes('/page/')).sort(),
    [
      `GET ${at(`?product=${product.id}`)}`,
      `GET ${at('cart')}`,
      `GET ${at(`products/${product.id}/overview`)}`,
      `GET ${at(`cards?ids=${encodeURIComponent(expected.join())}`)}`,
    ].sort(),
  );
  assert.deepEqual(
    await page.locator('.features dt').allTextContents(),
    product.features.map(({ feature }) => feature),
  );
  assert.equal(
    await text(page, '.features dd'),
    [null, '', 'null'].includes(product.features[0].value) ? 'Included' : product.features[0].value,
  );

  await page.locator('.related a').first().click();
  await page.waitForURL(at(`?product=${expected[0]}`));
  await settled(page);
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('the open product is revalidated on each visit, and a list is not', async () => {
  const tab = await open(browser, at());
  const { page } = tab;
  const {
    product: { id },
  } = overviews[1];
  const received = (pathname) => distribution.requests.filter(({ url }) => url === pathname);
  const visit = async () => {
    await page.goto(at(`?product=${id}`));
    await settled(page);
    await page.goto(at());
    await settled(page);
  };
  distribution.requests.length = 0;
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

test('a cart is shown with its products, changed, and kept', async () => {
  const overview = find((overview) => hasStock(overview, 8));
  const other = find((of) => of !== overview && hasStock(of, 2));
  const tab = await open(browser, at());
  const { page } = tab;
  const sku = await add(page, overview, 8);
  await add(page, other, 2);
  await page.goto(at('?cart'));
  await settled(page);
  assert.equal(await page.title(), 'Cart · Atelier');
  const style = shownStyle(overview);
  const price = Number(style.sale_price) > 0 ? Number(style.sale_price) : Number(style.original_price);
  const first = page.locator('.line').first();
  const name = overview.product.name;
  assert.equal(await page.locator('.line').count(), 2);
  assert.equal(await first.locator('h2').innerText(), name);
  assert.equal(await first.locator('.small').innerText(), `${style.name}, ${sku.size}`);
  assert.equal(
    await first.locator('a').getAttribute('href'),
    `?product=${overview.product.id}&style=${style.style_id}`,
  );

  await first.getByRole('button', { name: `Quantity of ${name}: one more` }).click();
  await page.waitForFunction(
    (price) => document.querySelector('.line-total').textContent === price,
    `$${(2 * price).toLocaleString('en')}`,
  );
  const field = first.getByRole('spinbutton');
  await field.fill('9999');
  await field.press('Tab');
  await page.waitForFunction(
    (start) => document.getElementById('live').textContent.startsWith(start),
    `${name}: ${sku.quantity} pieces, `,
  );
  assert.equal(await field.inputValue(), String(sku.quantity));
  await page.reload();
  await settled(page);
  assert.equal(await field.inputValue(), String(sku.quantity));
  assert.equal(await text(page, '#badge'), String(sku.quantity + 1));

  await page
    .getByRole('button', { name: `Remove ${name}` })
    .first()
    .click();
  await page.locator('.line').nth(1).waitFor({ state: 'detached' });
  assert.equal(await text(page, '#badge'), '1');
  await page.getByRole('button', { name: 'Undo' }).click();
  await page.locator('.line').nth(1).waitFor();
  assert.equal(await text(page, '#badge'), String(sku.quantity + 1));

  await page.getByRole('button', { name: 'Empty the cart' }).click();
  await page.getByRole('heading', { level: 1, name: 'Your cart is empty' }).waitFor();
  assert.equal(await page.locator('#badge').isVisible(), false);
  await page.getByRole('button', { name: 'Undo' }).click();
  await page.locator('.line').nth(1).waitFor();
  await page.getByRole('button', { name: 'Empty the cart' }).click();
  await page.getByRole('heading', { level: 1, name: 'Your cart is empty' }).waitFor();
  await page.reload();
  await settled(page);
  assert.equal(await text(page, 'h1'), 'Your cart is empty');
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('a line whose sku the catalog lost, or has too few of, says so', async () => {
  const tab = await open(browser, at());
  const { page } = tab;
  const [overview, other] = overviews.filter((overview) => hasStock(overview, 2));
  await add(page, overview, 2);
  await add(page, other, 2);
  await change(page, '/cart/lines', (lines) => {
    for (const name of Object.keys(lines[0])) if (name !== 'sku_id' && name !== 'count') lines[0][name] = null;
    lines[1].quantity = 0;
  });
  await page.goto(at('?cart'));
  await settled(page);
  assert.deepEqual(await page.locator('.line .stock').allInnerTexts(), ['No longer in the catalog.', 'Sold out.']);
  assert.equal(await text(page, '.summary .is-few'), '2 lines have more pieces than there are in stock.');
  const style = shownStyle(other);
  const price = Number(style.sale_price) > 0 ? style.sale_price : style.original_price;
  assert.equal(await text(page, '.sum dd'), `$${Number(price).toLocaleString('en')}`);
  await page.getByRole('button', { name: 'Remove This piece' }).click();
  await page.locator('.line').nth(1).waitFor({ state: 'detached' });
  assert.equal(await page.getByRole('button', { name: 'Undo' }).count(), 0);
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('a POST whose response is lost adds once, and is not sent again', async () => {
  const overview = find((overview) => hasStock(overview, 3));
  const tab = await open(browser, at(`?product=${overview.product.id}`));
  const { page } = tab;
  await add(page, overview, 3); // so that the visitor has a session
  let posts = 0;
  await page.route(
    (url) => url.pathname === '/cart',
    async (route) => {
      if (route.request().method() !== 'POST') return route.continue();
      posts += 1;
      await route.fetch();
      await route.abort();
    },
  );
  await page.getByRole('button', { name: 'Add to cart' }).click();
  await page.getByText('2 in your cart.').waitFor();
  await page.locator('.added').waitFor();
  assert.equal(posts, 1);

  await page.unrouteAll();
  let isDown = true;
  await page.route(
    (url) => url.pathname === '/cart',
    (route) => {
      if (route.request().method() !== 'POST' || !isDown) return route.continue();
      posts += 1;
      return route.fulfill({
        status: 503,
        headers: { 'retry-after': '0' },
        contentType: 'application/problem+json',
        body: JSON.stringify({
          type: 'about:blank',
          title: 'Service Unavailable',
          status: 503,
          detail: 'The database is unavailable.',
          request_id: 'x',
        }),
      });
    },
  );
  await page.getByRole('button', { name: 'Add to cart' }).click();
  await page.getByText('Not added: The database is unavailable. Try again.').waitFor();
  assert.equal(posts, 2);
  isDown = false;
  await page.getByRole('button', { name: 'Add to cart' }).click();
  await page.getByText('3 in your cart.').waitFor();
  assert.deepEqual(tab.problems, ['503 of POST /cart']);
  await tab.close();
});

test('a count that could not be saved is shown as it was', async () => {
  const overview = find((overview) => hasStock(overview, 3));
  const tab = await open(browser, at());
  const { page } = tab;
  await add(page, overview, 3);
  await page.goto(at('?cart'));
  await settled(page);
  await page.route(
    (url) => url.pathname.startsWith('/cart/'),
    (route) => route.abort(),
  );
  await page.locator('.line').getByRole('button', { name: 'one more' }).click();
  await page.getByText('The quantity was not changed: The shop cannot be reached.').waitFor();
  assert.equal(await page.locator('.line input').inputValue(), '1');
  assert.equal(await text(page, '#badge'), '1');
  await page.unrouteAll();
  await page.locator('.line').getByRole('button', { name: 'one more' }).click();
  await page.waitForResponse((response) => response.request().method() === 'PUT' && response.ok());
  assert.equal(await page.locator('.line input').inputValue(), '2');
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('a response with Retry-After is repeated once, and an error can be retried', async () => {
  const tab = await open(browser, at());
  const { page } = tab;
  const problem = JSON.stringify({
    type: 'about:blank',
    title: 'x',
    status: 503,
    detail: 'The database is unavailable.',
    request_id: 'abc123',
  });
  let requests = 0;
  let failures = 1;
  await page.route(
    (url) => url.pathname === '/cards',
    (route) => {
      requests += 1;
      if (requests > failures) return route.continue();
      return route.fulfill({
        status: 503,
        headers: { 'retry-after': '0' },
        contentType: 'application/problem+json',
        body: problem,
      });
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
  await page.unrouteAll();
  await page.getByRole('button', { name: 'Try again' }).click();
  await page.locator('.related a').first().waitFor();
  assert.deepEqual(tab.problems, Array(3).fill('503 of GET /cards'));
  await tab.close();
});

test('an unknown product, or an id that is none, leads back to the collection', async () => {
  const tab = await open(browser, at('?product=2147483647'));
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
  const tab = await open(browser, at());
  const { page } = tab;
  const card = page.locator('.card a').nth(13);
  const href = await card.getAttribute('href');
  await card.focus();
  const scrolled = await page.evaluate(() => window.scrollY);
  assert.ok(scrolled > 0);
  await page.keyboard.press('Enter');
  const name = overviews.find(({ product }) => href === `?product=${product.id}`).product.name;
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

test('the keyboard skips to the content, and a modified click opens another tab', async () => {
  const tab = await open(browser, at());
  const { page } = tab;
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to content');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
  await page.keyboard.press('Tab');
  assert.equal(
    await page.evaluate(() => document.activeElement.closest('nav').getAttribute('aria-label')),
    'Categories',
  );
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
      const tab = await open(browser, at(), { viewport });
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

test('without JavaScript, the page says that it needs it', async () => {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(at());
  assert.equal(await page.getByRole('heading', { level: 1 }).innerText(), 'This shop needs JavaScript');
  await context.close();
});

test('reduced motion stops animations and transitions', async () => {
  const moves = async (reducedMotion) => {
    const tab = await open(browser, at(), { reducedMotion });
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

for (const [colorScheme, width] of [
  ['light', 1280],
  ['light', 360],
  ['dark', 1280],
  ['dark', 360],
]) {
  test(`axe finds no violation and nothing is too wide, ${colorScheme}, at ${width} pixels`, async () => {
    const tab = await open(browser, at(), { colorScheme, viewport: { width, height: 740 } });
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
    const tab = await open(browser, 'about:blank');
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
    const all = [...sizes.values()].filter(({ url }) => url.startsWith(distribution.address));
    const bytes = all.reduce((sum, { bytes }) => sum + bytes, 0);
    t.diagnostic(`/${query}: ${bytes} bytes in ${all.length} requests`);
    assert.ok(all.length >= 4, JSON.stringify(all));
    assert.ok(bytes <= 60_000, JSON.stringify(all));
    await tab.close();
  }
});
