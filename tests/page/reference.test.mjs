// Tests the reference page in Chromium, on each way to serve it. `make test-page` runs them.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { startBelow, startDistribution, startFleet } from './servers.mjs';

const ARGUMENTS = ['--disable-background-networking', '--disable-component-update', '--disable-gpu', '--disable-quic',
  '--disable-sync', '--no-first-run'];

let browser, fleet, distribution, below;

before(async () => {
  fleet = await startFleet();
  distribution = await startDistribution({ docs: await policyOfTemplate() }, fleet.host);
  below = await startBelow('/shop', fleet.host);
  const isRoot = process.getuid() === 0; // Chromium's sandbox does not work for root
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: isRoot ? ['--no-sandbox', ...ARGUMENTS] : ARGUMENTS,
  });
});

after(async () => {
  await browser?.close();
  below?.stop();
  distribution?.stop();
  await fleet?.stop();
});

/** Returns the policy that the distribution of template.yaml adds to files of the bucket. */
async function policyOfTemplate() {
  const template = await readFile(path.resolve(import.meta.dirname, '../../template.yaml'), 'utf8');
  const [, policy] = template.match(/ContentSecurityPolicy: >-\n((?: {14}.*\n)+)/);
  return policy.trim().replace(/\s+/g, ' ');
}

for (const [name, page] of [
  ['on a host', () => `${fleet.host}/docs`],
  ['on a host, with a slash at the end', () => `${fleet.host}/docs/`],
  ['through NGINX', () => `${fleet.balancer}/docs`],
  ['as files beside the functions', () => `${distribution.address}/docs`],
  ['as files beside the functions, with a slash at the end', () => `${distribution.address}/docs/`],
  ['below a base path', () => `${below.address}/shop/docs`],
  ['below a base path, with a slash at the end', () => `${below.address}/shop/docs/`],
]) {
  test(`${name}, the page shows the API and sends its requests, and nothing else`, async () => {
    const address = page();
    const tab = await open(address);
    await tab.page.locator('.opblock').first().waitFor();

    const get = await operation(tab.page, 'get', '/products/{product_id}');
    await get.locator('tr[data-param-name="product_id"] input').fill('1');
    assert.equal(await execute(get), '200');
    const base = address.replace(/\/docs\/?$/, '');
    assert.equal(await get.locator('.request-url pre').innerText(), `${base}/products/1`);
    assert.match(await get.locator('.live-responses-table .highlight-code').first().innerText(), /"id": 1,/);

    const post = await operation(tab.page, 'post', '/cart');
    await post.locator('textarea.body-param__text').fill('{"sku_id": 1, "count": 2}');
    assert.equal(await execute(post), '201');

    assert.deepEqual(await tab.problems(), []);
    assert.ok(tab.requests.includes(`${base}/cart`), tab.requests.join('\n'));
    await tab.page.context().close();
  });
}

/** Opens a page and records its requests, and what must not happen on it. */
async function open(address) {
  const context = await browser.newContext();
  const page = await context.newPage();
  const requests = [];
  const problems = [];
  page.on('request', (request) => {
    requests.push(request.url());
    const url = new URL(request.url());
    if (url.protocol !== 'data:' && url.origin !== new URL(address).origin) problems.push(`request to ${url}`);
  });
  page.on('response', (response) => {
    if (response.status() >= 400) problems.push(`${response.status()} of ${response.url()}`);
  });
  page.on('console', (message) => {
    if (message.type() === 'error') problems.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => problems.push(`error: ${error}`));
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => {
      window.violations.push(`${event.violatedDirective} forbids ${event.blockedURI}`);
    });
  });
  const response = await page.goto(address);
  assert.match((await response.allHeaders())['content-security-policy'], /^default-src 'none'; script-src 'self';/);
  const all = async () => [...problems, ...await page.evaluate(() => window.violations)];
  return { page, requests, problems: all };
}

/** Opens an operation and its form. */
async function operation(page, method, of) {
  const block = page.locator(`.opblock-${method}`).filter({ has: page.locator(`[data-path="${of}"]`) });
  await block.locator('.opblock-summary-control').click();
  await block.locator('.try-out__btn').click();
  return block;
}

/** Sends the request of an operation, and returns the status of its response. */
async function execute(block) {
  await block.locator('.execute').click();
  const status = block.locator('.live-responses-table .response-col_status').last();
  await status.waitFor();
  return (await status.innerText()).match(/^\d+/)[0];
}
