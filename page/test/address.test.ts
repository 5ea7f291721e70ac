import assert from 'node:assert/strict';
import { test } from 'node:test';
import { format, list, parse, product, searchWords, wholeNumber, type Route } from '../src/address.js';

test('an address and its view lead to each other', () => {
  const pairs: [string, Route][] = [
    ['?cart', { view: 'cart' }],
    ['?product=2', { view: 'product', id: '2', style: null }],
    ['?product=2&style=3', { view: 'product', id: '2', style: 3 }],
    ['?category=Dress+Shoes&page=2', { view: 'list', category: 'Dress Shoes', q: '', page: 2 }],
    ['?page=2', { view: 'list', category: '', q: '', page: 2 }],
    ['?q=harbour+hoo', { view: 'list', category: '', q: 'harbour hoo', page: 1 }],
  ];
  for (const [query, route] of pairs) {
    assert.deepEqual(parse(query), route);
    assert.equal(format(route), query);
  }
});

test('the start page has no query, and stays below a base path', () => {
  assert.equal(list(), './');
  assert.deepEqual(parse(''), { view: 'list', category: '', q: '', page: 1 });
});

test('names of categories are encoded', () => {
  assert.equal(list('Hats & "Caps"', 2), '?category=Hats+%26+%22Caps%22&page=2');
  assert.equal(product(7, 12), '?product=7&style=12');
});

test('a page or style that the API would refuse has its default', () => {
  for (const page of ['0', '-1', '01', '1.5', 'x', '', '2147483648', '99999999999']) {
    assert.deepEqual(parse(`?page=${page}`), { view: 'list', category: '', q: '', page: 1 }, page);
  }
  assert.deepEqual(parse('?product=2&style=abc'), { view: 'product', id: '2', style: null });
});

test('a search excludes a category and a page', () => {
  assert.deepEqual(parse('?category=Boots&q=harbour&page=3'), { view: 'list', category: '', q: 'harbour', page: 1 });
});

test('ids are those of the API', () => {
  assert.equal(wholeNumber('2147483647'), 2147483647);
  for (const text of [null, '', '0', '007', '+1', ' 1', '2147483648']) assert.equal(wholeNumber(text), null);
});

test('a search has the words that the API accepts', () => {
  assert.deepEqual(searchWords("O'Hara's  plain cap"), {
    words: ['Hara', 'plain', 'cap'],
    isShortened: true,
    hasLongWord: false,
  });
  assert.deepEqual(searchWords('Café naïve'), { words: ['Café', 'naïve'], isShortened: false, hasLongWord: false });
  // Vowel signs are no letters, and the API does not split words at them.
  assert.deepEqual(searchWords('कमीज'), { words: ['कमीज'], isShortened: false, hasLongWord: false });
  assert.deepEqual(searchWords('one two three four five'), {
    words: ['one', 'two', 'three', 'four'],
    isShortened: true,
    hasLongWord: false,
  });
  assert.deepEqual(searchWords('a b'), { words: [], isShortened: true, hasLongWord: false });
  assert.deepEqual(searchWords('x'.repeat(65)), { words: [], isShortened: true, hasLongWord: true });
});
