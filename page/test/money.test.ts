import assert from 'node:assert/strict';
import { test } from 'node:test';
import { discount, formatter, pieces, price } from '../src/money.js';

test('a sale is a number above 0', () => {
  assert.deepEqual(price({ original_price: '25', sale_price: '18' }), { now: 18, before: 25 });
  for (const sale_price of [null, '0', '', 'null', '-3']) {
    assert.deepEqual(price({ original_price: '25', sale_price }), { now: 25, before: null }, String(sale_price));
  }
});

test('a sale that lowers no price strikes nothing through', () => {
  assert.deepEqual(price({ original_price: '25', sale_price: '25' }), { now: 25, before: null });
  assert.deepEqual(price({ original_price: '25', sale_price: '30' }), { now: 30, before: null });
});

test('a product without styles has its default price, or none', () => {
  assert.deepEqual(price({ default_price: '141', original_price: null, sale_price: null }), { now: 141, before: null });
  assert.deepEqual(price({ original_price: null, sale_price: null }), { now: null, before: null });
});

test('amounts have the symbol of their currency, and none without a currency', () => {
  assert.equal(formatter('USD')(500000000), '$500,000,000');
  assert.equal(formatter('EUR')(0), '€0');
  assert.equal(formatter('JPY')(1200), '¥1,200');
  assert.equal(formatter('')(1200), '1,200');
  assert.equal(formatter('dollars')(1200), '1,200');
});

test('a discount is in whole percent, and never 0 or 100', () => {
  assert.equal(discount(18, 25), 28);
  assert.equal(discount(999, 1000), 1);
  assert.equal(discount(1, 1000), 99);
});

test('one piece is singular', () => {
  assert.deepEqual([0, 1, 2000].map(pieces), ['0 pieces', '1 piece', '2,000 pieces']);
});
