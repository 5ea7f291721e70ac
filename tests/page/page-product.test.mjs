// Tests the view of a product, in Chromium. `make test-page` runs them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { at, change, find, hasStock, line, open, settled, shownStyle, skus, text } from './shop.mjs';

test('a product has its photos, which arrows turn and a dialog enlarges', async () => {
  const overview = find((overview) => (shownStyle(overview)?.photos.length ?? 0) >= 3);
  const n = shownStyle(overview).photos.length;
  const tab = await open(at(`?product=${overview.product.id}`), { pictures: true });
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
  assert.equal(await dialog.getByRole('status').innerText(), `${name} 3 of ${n}`);
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
  const tab = await open(at(`?product=${overview.product.id}`), {
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
  const tab = await open(at(`?product=${overview.product.id}`));
  const { page } = tab;
  const cloth = page.locator('.stage .cloth');
  await page.locator('.stage [role="img"]').waitFor();
  assert.equal(await page.locator('.stage img').count(), 0);
  assert.ok((await cloth.getAttribute('aria-label')).startsWith(overview.product.name));
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
  const tab = await open(at());
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
  await page.locator('.grid .card a').first().waitFor();
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('the keyboard chooses a style, which is marked', async () => {
  const overview = find(
    ({ styles: { results } }) => results.length >= 2 && shownStyle({ styles: { results } }) === results[0],
  );
  const [, next] = overview.styles.results;
  const tab = await open(at(`?product=${overview.product.id}`));
  const { page } = tab;
  const chosen = page.locator('input[name="style"]:checked');
  await chosen.focus();
  await page.keyboard.press('ArrowRight');
  assert.equal(await chosen.inputValue(), String(next.style_id));
  assert.equal(await chosen.evaluate((input) => input === document.activeElement), true);
  assert.equal(await text(page, '.chosen'), next.name);
  assert.equal(page.url(), at(`?product=${overview.product.id}&style=${next.style_id}`));
  const outline = () =>
    page
      .locator(':checked + .picture')
      .first()
      .evaluate((of) => getComputedStyle(of).outline);
  const focused = await outline();
  assert.match(focused, /solid 4px$/);
  await page.keyboard.press('Tab');
  assert.match(await outline(), /solid 2px$/);
  assert.deepEqual(tab.problems, []);
  await tab.close();
});

test('a price is struck through for a sale above 0 only', async () => {
  const amount = (style, name) => Number(style[name]).toLocaleString('en');
  const reduced = find((overview) => Number(shownStyle(overview)?.sale_price) > 0);
  const zero = find((overview) => shownStyle(overview)?.sale_price === '0');
  const tab = await open(at(`?product=${reduced.product.id}`));
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
  const tab = await open(at());
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
  await page.getByText('All 3 are in your cart.').waitFor();
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
  const tab = await open(at());
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
  assert.equal(await page.getByRole('button', { name: 'Not for sale' }).isDisabled(), true);
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
  const tab = await open(at(`?product=${product.id}`));
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
