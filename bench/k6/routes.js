// Routes and options that both scripts share.
//
//   variable   meaning                                       default
//   BASE_URL   URL of the service                            http://127.0.0.1:8080, as for `make fleet`
//   PRODUCTS   the highest product id                        1000011, the full size
//   PAGES      the highest page number of the list           a fifth of the products, rounded up

import http from 'k6/http';
import { check } from 'k6';
import exec from 'k6/execution';

const base = __ENV.BASE_URL || 'http://127.0.0.1:8080';
const products = positive('PRODUCTS', 1000011);
const pages = positive('PAGES', Math.ceil(products / 5));

const accept = { 'Accept-Encoding': 'gzip' };

// Returns a variable's value, a whole number above 0.
export function positive(name, otherwise) {
  const value = Number(__ENV[name] || otherwise);
  if (!Number.isInteger(value) || value < 1) {
    throw new Error(`${name}=${__ENV[name]}: expected a whole number above 0`);
  }
  return value;
}

// Uniformly random, both ends included.
function random(low, high) {
  return low + Math.floor(Math.random() * (high - low + 1));
}

// `name` groups the figures; without it each URL would have its own.
function get(name, path) {
  const response = http.get(base + path, { headers: accept, tags: { name } });
  check(response, { 'status is 200': (response) => response.status === 200 });
}

export const routes = {
  list: () => get('list', `/products?page=${random(1, pages)}&count=${random(5, 10)}`),
  product: () => get('product', `/products/${random(1, products)}`),
  styles: () => get('styles', `/products/${random(1, products)}/styles`),
  related: () => get('related', `/products/${random(1, products)}/related`),
};

// Aborts the run if the service is unreachable or has fewer products.
export function ready() {
  for (const id of [1, products]) {
    const response = http.get(`${base}/products/${id}`, { tags: { name: 'ready' } });
    if (response.status !== 200) {
      const actual = response.status || response.error;
      exec.test.abort(`BASE_URL=${base} PRODUCTS=${products}: expected 200 from /products/${id}, got ${actual}`);
    }
  }
}
