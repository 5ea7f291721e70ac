import assert from 'node:assert/strict';
import { test } from 'node:test';
import { colours, initials, sourceSet } from '../src/pictures.js';

const isColour = (name: string) => ['black', 'green', 'forestgreen', 'skyblue'].includes(name);

test('the name of a style has up to two colours', () => {
  assert.deepEqual(colours('Forest Green & Black', isColour), ['forestgreen', 'black']);
  assert.deepEqual(colours('Bottle Green', isColour), ['green']);
  assert.deepEqual(colours('Mint Green', isColour), ['#98e4b8']);
  assert.deepEqual(colours('Straw', isColour), []);
  assert.deepEqual(colours('Constructor', isColour), []);
  assert.deepEqual(colours(null, isColour), []);
});

test('initials are those of two words', () => {
  assert.equal(initials('Café Arcade Shirt'), 'CA');
  assert.equal(initials("Sailor's Canal Suit"), 'SC');
  assert.equal(initials('L’Été'), 'L');
  assert.equal(initials('(éclair)'), 'É');
  assert.equal(initials('  '), '');
});

test('a picture has several widths if its address has one and no signature', () => {
  assert.equal(
    sourceSet('https://a.example/p?fit=crop&w=300&q=80', [300, 600]),
    'https://a.example/p?fit=crop&w=300&q=80 300w, https://a.example/p?fit=crop&w=600&q=80 600w',
  );
  assert.equal(sourceSet('https://a.example/p.jpg', [300]), '');
  assert.equal(sourceSet('https://a.example/p?w=300&s=abc', [300]), '');
});
