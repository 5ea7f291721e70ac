// The service as it is deployed: hosts, NGINX in front of them, and servers as they may stand before the functions.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { createGzip } from 'node:zlib';

const ROOT = path.resolve(import.meta.dirname, '../..');
const TARGET = process.env.CARGO_TARGET_DIR ?? path.join(ROOT, 'target');

/** The folder that `make docs-files` writes. */
export const DOCS_FILES = path.join(TARGET, 'docs');

/** The files of the product page, which have the paths that they are served at. `make page` builds them. */
export const PAGE_FILES = path.join(ROOT, 'page/dist');

/** The policy of the product page. Pictures are those of the catalog, from any origin. */
export const PAGE_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: https:; "
  + "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const TYPES = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.txt': 'text/plain; charset=utf-8',
};

/** Starts a fleet with a small catalog. Returns the addresses of its load balancer and of a host, and `stop`. */
export async function startFleet() {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'atelier-page-'));
  await chmod(folder, 0o755); // Postgres runs as another user if this is root
  const port = await freePort();
  const fleet = spawn(
    path.join(TARGET, 'debug/atelier-local'),
    ['fleet', '--dir', path.join(folder, 'data'), '--scale', '0.0001', '--hosts', '1'],
    { cwd: folder, env: { ...process.env, LISTEN: `127.0.0.1:${port}` }, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const ended = once(fleet, 'exit');
  let output = '';
  fleet.stderr.setEncoding('utf8').on('data', (text) => { output += text; });
  const host = await Promise.race([
    new Promise((resolve) => {
      fleet.stderr.on('data', () => {
        const found = output.match(/host 1: (http:\/\/[0-9.:]+),/);
        if (found) resolve(found[1]);
      });
    }),
    ended.then(() => { throw new Error(`the fleet did not start:\n${output}`); }),
  ]);
  const stop = async () => {
    fleet.kill('SIGTERM');
    await ended;
    await rm(folder, { recursive: true, force: true });
  };
  return { balancer: `http://127.0.0.1:${port}`, host, stop };
}

export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return port;
}

/** Starts a server, and returns its address and `stop`. */
async function serve(respond) {
  const server = http.createServer(respond).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const stop = () => { server.close(); server.closeAllConnections(); };
  return { address: `http://127.0.0.1:${server.address().port}`, stop };
}

function forward(request, response, service, target) {
  const forwarded = http.request(service + target, { method: request.method, headers: request.headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.rawHeaders);
    answer.pipe(response);
  });
  forwarded.on('error', () => response.destroy());
  request.pipe(forwarded);
}

/** Starts a server that removes the base path of each request, as a custom domain of API Gateway does. */
export function startBelow(base, service) {
  return serve((request, response) => {
    if (request.url.startsWith(`${base}/`)) {
      forward(request, response, service, request.url.slice(base.length));
    } else {
      response.writeHead(404).end();
    }
  });
}

/** Returns the file of a bucket that a path leads to, or undefined. */
async function fileOf(folder, key) {
  const file = path.join(folder, path.normalize(key));
  return (await stat(file).catch(() => undefined))?.isFile() ? file : undefined;
}

/** Sends a file, compressed as CloudFront does, with a content security policy. */
function send(request, response, file, policy) {
  const headers = {
    'content-type': TYPES[path.extname(file)], 'content-security-policy': policy, 'cache-control': 'no-cache', vary: 'accept-encoding',
  };
  if (/\bgzip\b/.test(request.headers['accept-encoding'] ?? '')) {
    response.writeHead(200, { ...headers, 'content-encoding': 'gzip' });
    createReadStream(file).pipe(createGzip()).pipe(response);
  } else {
    response.writeHead(200, headers);
    createReadStream(file).pipe(response);
  }
}

/**
 * Starts a server like the CloudFront distribution of template.yaml: the files of the reference and of the product page
 * from buckets, with their policies, and all other paths from the API. `requests` has what the API received.
 */
export async function startDistribution(policies, service) {
  const requests = [];
  const server = await serve(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    const isReference = pathname.startsWith('/docs') || pathname === '/openapi.json';
    const isPage = pathname === '/' || pathname.startsWith('/page/');
    if (!isReference && !isPage) {
      requests.push({ method: request.method, url: request.url, headers: request.headers });
      return forward(request, response, service, request.url);
    }
    const key = { '/': '/index.html', '/docs': '/docs.html', '/docs/': '/docs/index.html' }[pathname] ?? pathname;
    const file = await fileOf(isPage ? PAGE_FILES : DOCS_FILES, key);
    if (file === undefined) {
      return response.writeHead(403).end(); // as S3 does
    }
    send(request, response, file, isPage ? policies.page : policies.docs);
  });
  return { ...server, requests };
}

/**
 * Starts a server of the product page alone, whose meta element `api` has another value, and which forwards the paths
 * below `prefix` to the API without it.
 */
export function startPage({ api, policy, prefix, service }) {
  return serve(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    if (prefix !== undefined && pathname.startsWith(prefix)) {
      return forward(request, response, service, request.url.slice(prefix.length - 1));
    }
    if (pathname === '/') {
      const html = await readFile(path.join(PAGE_FILES, 'index.html'), 'utf8');
      response.writeHead(200, { 'content-type': TYPES['.html'], 'content-security-policy': policy });
      return response.end(html.replace('<meta name="api" content="./">', `<meta name="api" content="${api}">`));
    }
    const file = await fileOf(PAGE_FILES, pathname);
    if (file === undefined) {
      return response.writeHead(404).end();
    }
    send(request, response, file, policy);
  });
}
