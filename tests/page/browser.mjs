// Chromium for the tests of the product page. Each tab records the problems that no visitor may meet.

import { chromium } from 'playwright-core';

const ARGUMENTS = [
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-gpu',
  '--disable-quic',
  '--disable-sync',
  '--no-first-run',
  // No picture comes from the internet: they fail, unless a test provides them.
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
];

export function launch(...options) {
  const isRoot = process.getuid() === 0; // Chromium's sandbox does not work for root
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [...ARGUMENTS, ...(isRoot ? ['--no-sandbox'] : []), ...options],
  });
}

const isPicture = (url) => url.startsWith('https://');

/** A tab with its requests except for pictures, and with its problems: errors, statuses from 400, requests to other origins. */
export async function open(browser, address, { origins = [], pictures = false, ...options } = {}) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 },
    reducedMotion: 'reduce',
    ...options,
  });
  const page = await context.newPage();
  const requests = [];
  const problems = [];
  const allowed = [new URL(address).origin, ...origins];
  page.on('request', (request) => {
    const url = request.url();
    if (isPicture(url) ? request.resourceType() === 'image' : url.startsWith('data:')) return;
    requests.push(`${request.method()} ${url}`);
    if (!allowed.includes(new URL(url).origin)) problems.push(`request to ${url}`);
  });
  page.on('response', (response) => {
    if (response.status() >= 400)
      problems.push(`${response.status()} of ${response.request().method()} ${new URL(response.url()).pathname}`);
  });
  page.on('console', (message) => {
    // Responses and pictures that fail are known already.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
      problems.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => problems.push(`error: ${error.stack}`));
  page.on('dialog', (dialog) => problems.push(`dialog: ${dialog.message()}`));
  await page.exposeFunction('violated', (text) => problems.push(text));
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      window.violated(`${event.violatedDirective} forbids ${event.blockedURI}`);
    });
  });
  if (pictures) {
    await page.route(isRemotePicture, (route) => route.fulfill({ contentType: 'image/svg+xml', body: PICTURE }));
  }
  if (address !== 'about:blank') {
    await page.goto(address);
    await settled(page);
  }
  return { page, requests, problems, close: () => context.close() };
}

const isRemotePicture = (url) => isPicture(url.href);
const PICTURE =
  '<svg xmlns="http://www.w3.org/2000/svg" width="60" height="60"><rect width="60" height="60" fill="#8a6"/></svg>';

/** Waits until the view of the address is shown. */
export async function settled(page) {
  await page.locator('main:not([aria-busy])').waitFor();
}
