import assert from 'node:assert/strict';
import { test } from 'node:test';
import { available, chooseStyle, limitText, relatedIds, sizeName, sizes } from '../src/stock.js';

test('the placeholder of a style without skus is not a size', () => {
  assert.deepEqual(sizes({ skus: { null: { quantity: null, size: null } } }), []);
  assert.deepEqual(sizes(null), []);
});

test('of equal sizes, those in stock remain with numbers, or else the first', () => {
  const named = (...quantities: number[]) =>
    sizes({
      skus: Object.fromEntries(
        ['L', 'XL', 'XL', 'XL'].map((size, i) => [i + 4, { size, quantity: quantities[i] ?? null }]),
      ),
    }).map(({ sku, size, quantity }) => `${sku} ${size}: ${quantity}`);
  assert.deepEqual(named(7, 51, 0, 15), ['4 L: 7', '5 XL: 51', '7 XL (2): 15']);
  assert.deepEqual(named(7, 0, 4, 0), ['4 L: 7', '6 XL: 4']);
  assert.deepEqual(named(0, 0, 0, 0), ['4 L: 0', '5 XL: 0']);
});

test('a missing size has a name', () => {
  for (const size of [null, '', ' ', 'null']) assert.equal(sizeName(size), 'One size');
  assert.equal(sizeName(' 7.5 '), '7.5');
});

test('stock, the cart and the API limit what can be added', () => {
  assert.equal(available(8, 0), 8);
  assert.equal(available(8, 3), 5);
  assert.equal(available(8, 9), 0);
  assert.equal(available(2147483647, 0), 99);
  assert.equal(available(2147483647, 9990), 9);
});

test('a limit is that of the stock or of the API', () => {
  assert.equal(limitText(8, 8), 'Only 8 in stock.');
  assert.equal(limitText(5, 8, 3), 'Only 5 more in stock.');
  assert.equal(limitText(99, 2147483647), 'At most 99.');
});

test('the style of the address wins over the default, and the default over the first', () => {
  const styles = [1, 2, 3].map((style_id) => ({ style_id, 'default?': style_id === 2 }));
  assert.equal(chooseStyle(styles, 3)?.style_id, 3);
  assert.equal(chooseStyle(styles, 99)?.style_id, 2);
  assert.equal(
    chooseStyle(
      styles.map((style) => ({ ...style, 'default?': false })),
      null,
    )?.style_id,
    1,
  );
  assert.equal(chooseStyle([], 1), null);
});

test('related products come once, without the product itself', () => {
  assert.deepEqual(relatedIds([2, 7, 7, 1, 20], 1, 12), [2, 7, 20]);
  assert.deepEqual(relatedIds([2, 3, 4], 1, 2), [2, 3]);
});
