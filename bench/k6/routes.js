// What both scripts ask of a service, and where it is.
//
//   BASE_URL   where it answers                              http://127.0.0.1:8080, as `make fleet` has it
//   PRODUCTS   products have the ids from 1 to this          1000011, the full set
//   PAGES      pages of the list are asked for up to this    a fifth of the products, rounded up

import http from 'k6/http';
import { check } from 'k6';
import exec from 'k6/execution';

const base = __ENV.BASE_URL || 'http://127.0.0.1:8080';
const products = positive('PRODUCTS', 1000011);
const pages = positive('PAGES', Math.ceil(products / 5));

const accept = { 'Accept-Encoding': 'gzip' };

// A whole number above 0 of the environment.
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

// `name` groups the figures; without it each address would have some of its own.
function get(name, path) {
  const answer = http.get(base + path, { headers: accept, tags: { name } });
  check(answer, { 'status is 200': (answer) => answer.status === 200 });
}

export const routes = {
  list: () => get('list', `/products?page=${random(1, pages)}&count=${random(5, 10)}`),
  product: () => get('product', `/products/${random(1, products)}`),
  styles: () => get('styles', `/products/${random(1, products)}/styles`),
  related: () => get('related', `/products/${random(1, products)}/related`),
};

// A service that is not there, or has fewer products, would fail requests for as long as the run takes.
export function ready() {
  for (const id of [1, products]) {
    const answer = http.get(`${base}/products/${id}`, { tags: { name: 'ready' } });
    if (answer.status !== 200) {
      const said = answer.status || answer.error;
      exec.test.abort(`BASE_URL=${base} PRODUCTS=${products}: expected 200 from /products/${id}, and got ${said}`);
    }
  }
}
