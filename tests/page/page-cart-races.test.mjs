// Tests requests of the page that overlap, fail, or get no response, in Chromium. `make test-page` runs them.

import assert from 'node:assert/strict';
import http from 'node:http';
import { once } from 'node:events';
import { test } from 'node:test';
import { PAGE_POLICY, startPage } from './servers.mjs';
import { add, at, chooseSize, follow, hasStock, hold, open, problem, served, settled, shop, text } from './shop.mjs';

const stocked = () => shop.overviews.filter((overview) => hasStock(overview, 4));
const query = ({ product }) => `?product=${product.id}`;
const addButton = (page) => page.getByRole('button', { name: 'Add to cart' });
const badgeIs = (page, n) => page.locator('#badge', { hasText: new RegExp(`^${n}$`) }).waitFor();

/** Opens the cart with one piece of each of some products. Returns their skus too, and their items. */
async function openCart(n) {
  const tab = await open(at());
  const { page } = tab;
  const skus = [];
  for (const overview of stocked().slice(0, n)) skus.push((await add(page, overview, 4)).id);
  await follow(page, '?cart');
  const items = skus.map((_, i) => page.locator('.line').nth(i));
  return { ...tab, skus, items };
}
const more = (item) => item.getByRole('button', { name: 'one more' });
const less = (item) => item.getByRole('button', { name: 'one less' });
const remove = (item) => item.getByRole('button', { name: 'Remove' });

test('a new visitor adds from several views before the first response', async () => {
  const [first, second] = stocked();
  const tab = await open(at());
  const { page } = tab;
  const release = await hold(page, 'POST /cart');
  const ids = [];
  for (const overview of [first, second, first]) {
    await follow(page, query(overview));
    ids.push((await chooseSize(page, overview, 4)).id);
    await addButton(page).click();
    await page.getByRole('button', { name: 'Adding …' }).waitFor();
  }
  release();
  await badgeIs(page, 3);
  assert.deepEqual(await served(page), { [ids[0]]: 2, [ids[1]]: 1 });
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('a cart that is opened during an addition has the piece', async () => {
  const [overview] = stocked();
  const tab = await open(at(query(overview)));
  const { page } = tab;
  await chooseSize(page, overview, 4);
  const release = await hold(page, 'POST /cart');
  await addButton(page).click();
  await page.getByRole('link', { name: 'Cart' }).first().click();
  await page.waitForTimeout(300); // for a read that does not wait for the addition
  release();
  await settled(page);
  await page.locator('.line').waitFor({ timeout: 5000 });
  await badgeIs(page, 1);
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('a double click adds once', async () => {
  const [overview] = stocked();
  const tab = await open(at(query(overview)));
  const { page } = tab;
  await chooseSize(page, overview, 4);
  const release = await hold(page, 'POST /cart');
  await addButton(page).dblclick();
  release();
  await page.locator('.added').waitFor();
  assert.equal(tab.requests.filter((request) => request.startsWith('POST')).length, 1);
  await badgeIs(page, 1);
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

for (const [name, click] of [
  ['removed', (page, item) => remove(item).click()],
  ['emptied', (page) => page.getByRole('button', { name: 'Empty the cart' }).click()],
]) {
  test(`a line that is changed and ${name} at once is gone, and Undo puts its last count back`, async () => {
    const { page, skus, items, problems, close } = await openCart(1);
    const [item] = items;
    const release = await hold(page, `PUT /cart/${skus[0]}`);
    await more(item).click();
    await more(item).click();
    await click(page, item);
    await more(item).click();
    release();
    await page.getByRole('button', { name: 'Undo' }).waitFor();
    await page.waitForTimeout(300); // for a request that would make the line again
    assert.deepEqual(await served(page), {});
    assert.equal(await page.locator('#badge').isVisible(), false);
    await page.getByRole('button', { name: 'Undo' }).click();
    await badgeIs(page, 4);
    assert.equal(await page.locator('.line input').inputValue(), '4');
    assert.deepEqual(await served(page), { [skus[0]]: 4 });
    assert.deepEqual(problems, []);
    await close();
  });
}

test('a count that fails after another line was removed is shown as it was', async () => {
  const { page, skus, items, problems, close } = await openCart(2);
  const [first, second] = items;
  const releaseFirst = await hold(page, `PUT /cart/${skus[0]}`);
  await page.route(`**/cart/${skus[1]}`, (route) => route.abort());
  const releaseSecond = await hold(page, `PUT /cart/${skus[1]}`);
  await remove(first).click();
  await more(second).click();
  await more(second).click();
  releaseFirst();
  await page.getByText(' was removed.').waitFor();
  assert.equal(await first.locator('input').inputValue(), '3');
  releaseSecond();
  await page.getByText('The quantity was not changed: ').waitFor();
  assert.equal(await first.locator('input').inputValue(), '1');
  assert.equal(await text(page, '.summary dd'), '1');
  assert.deepEqual(await served(page), { [skus[1]]: 1 });
  await badgeIs(page, 1);
  assert.deepEqual(problems, []);
  await close();
});

test('a tab that becomes visible again shows the cart that another tab changed', async () => {
  const { page, skus, items, problems, close } = await openCart(2);
  const [overview] = stocked();
  const become = () => page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  const put = (sku, count) => page.request.put(at(`cart/${sku}`), { data: { count } });

  // The click is sooner than the response of the read.
  await put(skus[0], 0);
  const release = await hold(page, 'GET /cart');
  await become();
  await more(items[0]).click();
  await more(items[0]).click();
  release();
  await items[1].waitFor({ state: 'detached' });
  await badgeIs(page, 1);
  assert.deepEqual(await served(page), { [skus[1]]: 1 });

  await put(skus[1], 3);
  await become();
  await page.locator('.summary dd', { hasText: /^3$/ }).waitFor();
  assert.equal(await items[0].locator('input').inputValue(), '3');

  await follow(page, query(overview));
  await page.locator(`input[name="size"][value="${skus[0]}"]`).check({ force: true });
  await put(skus[0], 2);
  await become();
  await page.getByText('2 in your cart.').waitFor();
  await addButton(page).click();
  await page.getByText('3 in your cart.').waitFor();
  assert.deepEqual(await served(page), { [skus[0]]: 3, [skus[1]]: 3 });
  assert.deepEqual(problems, []);
  await close();
});

test('a window shows the changes of another one beside it', async () => {
  const { page, skus, items, problems, close } = await openCart(2);
  const [overview] = stocked();
  const beside = await page.context().newPage();
  await beside.goto(at('?cart'));
  await settled(beside);
  await more(items[0]).click();
  await beside.locator('.summary dd', { hasText: /^3$/ }).waitFor();
  assert.equal(await beside.locator('.line input').first().inputValue(), '2');
  await remove(items[1]).click();
  await beside.locator('.line').nth(1).waitFor({ state: 'detached' });
  await add(beside, overview, 4);
  await page.locator('.summary dd', { hasText: /^3$/ }).waitFor();
  assert.deepEqual(await served(page), { [skus[0]]: 3 });
  await page.getByRole('button', { name: 'Empty the cart' }).click();
  await beside.locator('#badge').waitFor({ state: 'hidden' });
  assert.deepEqual(problems, []);
  await close();
});

test('a browser that keeps nothing for the site shows the page and adds', async () => {
  const [overview] = stocked();
  const tab = await open('about:blank', { origins: [new URL(at()).origin] });
  const { page } = tab;
  await page.addInitScript(() => {
    window.BroadcastChannel = function () {
      throw new DOMException('The operation is insecure.', 'SecurityError');
    };
  });
  await page.goto(at());
  await add(page, overview);
  await badgeIs(page, 1);
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('several clicks become few requests, of which the last has the latest count', async () => {
  const { page, skus, items, requests, problems, close } = await openCart(1);
  const release = await hold(page, `PUT /cart/${skus[0]}`);
  for (const button of [more, more, less, more]) await button(items[0]).click();
  release();
  await badgeIs(page, 3);
  assert.deepEqual(await served(page), { [skus[0]]: 3 });
  assert.equal(requests.filter((request) => request.startsWith('PUT')).length, 2);
  assert.deepEqual(problems, []);
  await close();
});

test('an Undo that fails can be tried again', async () => {
  const { page, skus, problems, close } = await openCart(2);
  const undo = page.getByRole('button', { name: 'Undo' });
  await page.getByRole('button', { name: 'Empty the cart' }).click();
  await page.route(`**/cart/${skus[1]}`, (route) => route.abort());
  await undo.click();
  await page.getByText('Not put back: The shop cannot be reached.').waitFor();
  assert.equal(await undo.evaluate((button) => button === document.activeElement), true);
  assert.equal(await page.locator('.line').count(), 1);
  assert.deepEqual(await served(page), { [skus[0]]: 1 });
  await badgeIs(page, 1);
  await page.unrouteAll();
  await less(page.locator('.line')).click({ force: true });
  await more(page.locator('.line')).click();
  await less(page.locator('.line')).click();
  assert.equal(await page.locator('.notice').innerText(), 'Undo');
  await badgeIs(page, 1);
  await undo.click();
  await page.getByText('Put back.').waitFor();
  assert.equal(await page.locator('.line').count(), 2);
  assert.deepEqual(await served(page), { [skus[0]]: 1, [skus[1]]: 1 });
  assert.deepEqual(problems, []);
  await close();
});

test('a failure in the cart looks like one, keeps the focus, and goes with the next action', async () => {
  const { page, skus, items, close } = await openCart(2);
  const release = await hold(page, `PUT /cart/${skus[1]}`);
  let respond = (route) => route.abort();
  await page.route(`**/cart/${skus[0]}`, (route) => respond(route));
  const failed = page.locator('.notice .is-failed');
  const colour = (locator) => locator.evaluate((element) => getComputedStyle(element).color);
  for (const response of [
    (route) => route.abort(),
    (route) => route.fulfill(problem(429, 'Too many requests.')),
    (route) => route.fulfill(problem(503, 'The host is busy.')),
  ]) {
    respond = response;
    await remove(items[0]).focus();
    await page.keyboard.press('Enter');
    await failed.getByText('Not removed: ').waitFor();
    assert.equal(await remove(items[0]).evaluate((button) => button === document.activeElement), true);
    assert.notEqual(await colour(failed), await colour(page.locator('h1')));
    await more(items[1]).click();
    assert.equal(await page.locator('.notice').innerText(), '');
  }
  release();
  respond = (route) => route.continue();
  await remove(items[0]).click();
  await page.getByText(' was removed.').waitFor();
  assert.equal(await failed.count(), 0);
  const undo = page.getByRole('button', { name: 'Undo' });
  assert.equal(await undo.evaluate((button) => button === document.activeElement), true);
  await close();
});

test('a failed addition says what to do', async () => {
  const [overview] = stocked();
  const tab = await open(at(query(overview)));
  const { page } = tab;
  await chooseSize(page, overview, 4);
  let respond;
  await page.route('**/cart', (route) => (route.request().method() === 'POST' ? respond(route) : route.continue()));
  for (const [response, message] of [
    [(route) => route.fulfill(problem(422, 'There is no sku with this id.')), 'There is no sku with this id.'],
    [(route) => route.abort(), 'The shop cannot be reached. Check the connection, then try again.'],
    [(route) => route.fulfill(problem(503, 'The host is busy.')), 'The host is busy. Try again.'],
    [(route) => route.fulfill({ status: 503, body: '<h1>503</h1>' }), 'The shop has a problem. Try again.'],
    [(route) => route.fulfill({ status: 500, body: '' }), 'The shop has a problem. Try again later.'],
    [(route) => route.fulfill({ status: 403, body: '<h1>403</h1>' }), 'The shop rejected the request.'],
  ]) {
    respond = response;
    await addButton(page).click();
    await page.locator('.outcome p').waitFor();
    assert.equal(await text(page, '.outcome p'), `Not added: ${message}`);
  }
  await tab.close();
});

test('a request that was limited is sent once more, after Retry-After', async () => {
  const [overview] = stocked();
  const tab = await open(at());
  const { page } = tab;
  const limited = { 'POST /cart': '0', [`GET /products/${overview.product.id}/overview`]: '0' };
  await page.route('**', (route) => {
    const name = `${route.request().method()} ${new URL(route.request().url()).pathname}`;
    const after = limited[name];
    if (after === undefined) return route.fallback();
    if (after === '0') delete limited[name];
    return route.fulfill(problem(429, 'Too many requests.', { 'retry-after': after }));
  });
  await follow(page, query(overview));
  const sku = await chooseSize(page, overview, 4);
  await addButton(page).click();
  await page.locator('.added').waitFor();
  assert.deepEqual(await served(page), { [sku.id]: 1 });
  assert.deepEqual(limited, {});

  // Too long to wait for.
  limited['POST /cart'] = '60';
  await addButton(page).click();
  await page.getByText('Not added: Too many requests. Try again.').waitFor();
  assert.equal(tab.requests.filter((request) => request.startsWith('POST')).length, 3);
  limited['GET /cards'] = '60';
  await follow(page, '?page=2');
  await page.getByRole('heading', { level: 1, name: 'One moment, please' }).waitFor();
  await tab.close();
});

test('a service that stops responding fails a view and an addition', async () => {
  const [overview] = stocked();
  const tab = await open('about:blank', { origins: [shop.distribution.address] });
  const { page } = tab;
  await page.clock.install();
  const release = await hold(page, 'GET /cards');
  await page.goto(at());
  await page.locator('.grid .bone').first().waitFor();
  await page.clock.fastForward(14_000);
  assert.equal(await page.locator('.grid .bone').first().isVisible(), true);
  await page.clock.fastForward(2000);
  await page.getByRole('heading', { level: 1, name: 'No connection' }).waitFor();
  release();

  await follow(page, query(overview));
  await chooseSize(page, overview, 4);
  await hold(page, 'POST /cart');
  await addButton(page).click();
  await page.getByRole('button', { name: 'Adding …' }).waitFor();
  await page.clock.fastForward(16_000);
  await page.getByText('Not added: The shop cannot be reached.').waitFor();
  await tab.close();
});

test('a body that does not end fails the view', async (t) => {
  const service = http.createServer((request, response) => response.writeHead(200, { 'x-a': 'b' }).write('['));
  await once(service.listen(0, '127.0.0.1'), 'listening');
  t.after(() => service.close().closeAllConnections());
  const address = `http://127.0.0.1:${service.address().port}`;
  const server = await startPage({ api: 'v1/', prefix: '/v1/', policy: PAGE_POLICY, service: address });
  t.after(server.stop);
  const tab = await open('about:blank', { origins: [server.address] });
  await tab.page.clock.install();
  await tab.page.goto(`${server.address}/?cart`);
  await tab.page.waitForTimeout(300); // for the headers
  await tab.page.clock.fastForward(16_000);
  await tab.page.getByRole('heading', { level: 1, name: 'No connection' }).waitFor();
  await tab.close();
});

test('an API of another origin gets the header of the visitor with requests of the cart only', async (t) => {
  const policy = PAGE_POLICY.replace("connect-src 'self'", `connect-src ${shop.fleet.host}`);
  const server = await startPage({ api: shop.fleet.host, policy });
  t.after(server.stop);
  const tab = await open('about:blank', { origins: [server.address, shop.fleet.host] });
  const identified = {};
  tab.page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.origin === shop.fleet.host) identified[url.pathname] = 'authorization' in request.headers();
  });
  await tab.page.goto(`${server.address}/`);
  await settled(tab.page);
  await follow(tab.page, '?cart');
  assert.deepEqual(identified, { '/cards': false, '/categories': false, '/cart': true, '/cart/lines': true });
  assert.deepEqual(tab.problems, []);
  await tab.close();
});
