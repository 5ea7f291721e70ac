// Tests the cart of the product page, in Chromium. `make test-page` runs them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  add,
  at,
  change,
  chooseSize,
  dollars,
  find,
  hasStock,
  hold,
  open,
  priceOf,
  problem,
  served,
  settled,
  shop,
  shownStyle,
  skus,
  text,
} from './shop.mjs';

test('a cart is shown with its products, changed, and kept', async () => {
  const overview = find((overview) => hasStock(overview, 8));
  const other = find((of) => of !== overview && hasStock(of, 2));
  const tab = await open(at());
  const { page } = tab;
  const sku = await add(page, overview, 8);
  await add(page, other, 2);
  await page.goto(at('?cart'));
  await settled(page);
  assert.equal(await page.title(), 'Cart · Atelier');
  const style = shownStyle(overview);
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
    dollars(2 * priceOf(style)),
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
  const tab = await open(at());
  const { page } = tab;
  const [overview, other] = shop.overviews.filter((overview) => hasStock(overview, 2));
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
  assert.equal(await text(page, '.sum dd'), dollars(priceOf(shownStyle(other))));
  await page.getByRole('button', { name: 'Remove This piece' }).click();
  await page.locator('.line').nth(1).waitFor({ state: 'detached' });
  assert.equal(await page.getByRole('button', { name: 'Undo' }).count(), 0);
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('a POST whose response is lost adds once, and is not sent again', async () => {
  const overview = find((overview) => hasStock(overview, 3));
  const tab = await open(at(`?product=${overview.product.id}`));
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
      return route.fulfill(problem(503, 'The database is unavailable.', { 'retry-after': '0' }));
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
  const tab = await open(at());
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
  await Promise.all([
    page.waitForResponse((response) => response.request().method() === 'PUT' && response.ok()),
    page.locator('.line').getByRole('button', { name: 'one more' }).click(),
  ]);
  assert.equal(await page.locator('.line input').inputValue(), '2');
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('a quantity that is no number is shown as it was', async () => {
  const overview = find((overview) => hasStock(overview, 3));
  const tab = await open(at());
  const { page } = tab;
  await add(page, overview, 3);
  const type = async (field, keys) => {
    await field.selectText();
    for (const key of [...keys, 'Tab']) await field.press(key);
  };
  const quantity = page.getByRole('spinbutton');
  await quantity.fill('2');
  await quantity.press('Tab');
  for (const keys of [['Delete'], ['e']]) {
    await type(quantity, keys);
    assert.equal(await quantity.inputValue(), '2');
  }
  await page.getByRole('button', { name: 'Add to cart' }).click();
  await page.getByText('3 in your cart.').or(page.getByText('All 3 are')).waitFor();

  await page.goto(at('?cart'));
  await settled(page);
  for (const keys of [['Delete'], ['-', 'e']]) {
    await type(quantity, keys);
    assert.equal(await quantity.inputValue(), '3');
  }
  assert.deepEqual(
    tab.requests.filter((request) => request.startsWith('PUT')),
    [],
  );
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('a quantity that is corrected is shown before it can be added', async () => {
  const overview = find((overview) => hasStock(overview, 8));
  const tab = await open(at(`?product=${overview.product.id}`));
  const { page } = tab;
  const { id, quantity } = await chooseSize(page, overview, 8);
  const field = page.getByRole('spinbutton');
  const button = page.getByRole('button', { name: 'Add to cart' });
  const max = Math.min(quantity, 99);
  const limit = quantity > 99 ? 'At most 99.' : `Only ${quantity} in stock.`;
  const whole = `Use a whole number from 1 to ${max}.`;
  for (const [typed, corrected, note, submit] of [
    ['9999', max, limit, () => field.press('Enter')],
    ['500', max, limit, () => field.press('Enter')],
    ['500', max, limit, () => button.click()],
    ['0', 1, whole, () => field.press('Enter')],
    ['1.5', 1, whole, () => field.press('Enter')],
  ]) {
    await field.fill(typed);
    await submit();
    assert.equal(await field.inputValue(), String(corrected));
    assert.equal(await text(page, '.buy .limit'), note);
    assert.equal((await text(page, '#live')).trim(), note);
  }
  assert.deepEqual(await served(page), {});
  await field.fill('9999');
  await field.press('Tab');
  await button.click();
  await page.locator('.added').waitFor();
  assert.deepEqual(await served(page), { [id]: max });
  assert.equal(await page.locator('.buy .limit').isVisible(), false);

  await chooseSize(page, overview, 8);
  await page.request.put(at(`cart/${id}`), { data: { count: 1 } });
  await page.reload();
  await settled(page);
  await chooseSize(page, overview, 8);
  await page.getByText('1 in your cart.').waitFor();
  await field.fill('2');
  await field.press('Enter');
  await page.getByText('3 in your cart.').waitFor();
  await field.fill('9999');
  await field.press('Enter');
  if (quantity < 99) assert.equal(await text(page, '.buy .limit'), `Only ${quantity - 3} more in stock.`);
  await field.press('Enter');
  await page.getByText(`All ${quantity} are in your cart.`).waitFor();
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('a line with more pieces than there are can only have fewer', async () => {
  const overview = find((overview) => hasStock(overview, 8));
  const tab = await open(at());
  const { page } = tab;
  const { id } = await add(page, overview, 8);
  await change(page, '/cart/lines', (lines) => {
    lines[0].quantity = 3;
  });
  const bodies = [];
  page.on('request', (request) => request.method() === 'PUT' && bodies.push(request.postDataJSON()));
  const field = page.getByRole('spinbutton');
  for (const typed of ['9', '4']) {
    const headers = { 'content-type': 'application/json' };
    await page.request.put(at(`cart/${id}`), { headers, data: { count: 5 } });
    await page.goto(at('?cart'));
    await settled(page);
    assert.equal(await field.inputValue(), '5');
    await page.getByRole('button', { name: 'one more' }).click({ force: true });
    assert.equal(await field.inputValue(), '5');
    const release = await hold(page, `PUT /cart/${id}`);
    await field.fill(typed);
    await field.press('Tab');
    assert.equal(await field.inputValue(), '3');
    assert.equal(await text(page, '#live'), 'Only 3 in stock.');
    release();
    await page.locator('#badge', { hasText: /^3$/ }).waitFor();
    assert.equal(await text(page, '.line .limit'), 'Only 3 in stock.');
    assert.match(await text(page, '#live'), /: 3 pieces, .*\. Only 3 in stock\.$/);
  }
  assert.deepEqual(bodies, [{ count: 3 }, { count: 3 }]);
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('what cannot be bought says one reason, without a quantity', async () => {
  const bare = find(({ styles }) => styles.results.length === 0);
  const overview = find((overview) => hasStock(overview));
  const tab = await open(at());
  const { page } = tab;
  let skusOf;
  await change(page, `/products/${overview.product.id}/overview`, (body) => {
    for (const style of body.styles.results) style.skus = skusOf(style);
  });
  const none = { null: { quantity: null, size: null } };
  const soldOut = ({ skus }) =>
    Object.fromEntries(Object.entries(skus).map(([id, { size }]) => [id, { size, quantity: 0 }]));
  for (const [{ product }, edit, button, stock] of [
    [bare, null, 'Not for sale', 'This piece is not for sale at the moment.'],
    [overview, () => none, 'Not for sale', 'This piece is not for sale at the moment.'],
    [overview, soldOut, 'Sold out', 'This style is sold out.'],
  ]) {
    skusOf = edit;
    await page.goto(at(`?product=${product.id}`));
    await settled(page);
    assert.equal(await page.getByRole('button', { name: button }).isDisabled(), true);
    assert.equal(await text(page, '.stock'), stock);
    assert.equal(await page.locator('.buy .stepper').isVisible(), false);
  }
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('a size is chosen with the keyboard, and its last piece is added', async () => {
  const overview = find((overview) => skus(shownStyle(overview) ?? { skus: {} }).length > 2);
  const [first, second, third] = skus(shownStyle(overview));
  const tab = await open(at());
  const { page } = tab;
  await change(page, `/products/${overview.product.id}/overview`, (body) => {
    const { skus } = shownStyle(body);
    skus[first.id].quantity = 2;
    skus[second.id].quantity = 0;
    skus[third.id].quantity = 1;
  });
  await page.goto(at(`?product=${overview.product.id}`));
  await settled(page);
  await page.locator('input[name="style"]:checked').focus();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Space');
  assert.equal(await text(page, '.stock'), 'Only 2 pieces left.');
  await page.keyboard.press('ArrowRight'); // past the size that is sold out
  assert.equal(await text(page, '.stock'), 'Only 1 piece left.');
  assert.equal(await page.locator('input[name="size"]:checked').inputValue(), String(third.id));
  await page.keyboard.press('Enter');
  await page.getByText('Only 1 piece left. It is in your cart.').waitFor();
  await page.locator(`input[name="size"][value="${first.id}"]`).check({ force: true });
  for (const expected of ['1 in your cart.', 'All 2 are in your cart.']) {
    await page.getByRole('button', { name: 'Add to cart' }).click();
    await page.getByText(expected).waitFor();
  }
  assert.deepEqual(tab.problems, []);
  await tab.close();
});
