// The service as it is deployed: hosts, NGINX in front of them, and servers as they may stand before the functions.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { chmod, mkdtemp, rm, stat } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';

const ROOT = path.resolve(import.meta.dirname, '../..');
const TARGET = process.env.CARGO_TARGET_DIR ?? path.join(ROOT, 'target');

/** The folder that `make docs-files` writes. */
export const DOCS_FILES = path.join(TARGET, 'docs');

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

async function freePort() {
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

/**
 * Starts a server like the CloudFront distribution of template.yaml: the files of the reference from a bucket, with the
 * policy of the distribution, and all other paths from the API.
 */
export function startDistribution(policy, service) {
  return serve(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    if (!pathname.startsWith('/docs') && pathname !== '/openapi.json') {
      return forward(request, response, service, request.url);
    }
    const keys = { '/docs': '/docs.html', '/docs/': '/docs/index.html' };
    const file = path.join(DOCS_FILES, path.normalize(keys[pathname] ?? pathname));
    if (!(await stat(file).catch(() => undefined))?.isFile()) {
      return response.writeHead(403).end(); // as S3 does
    }
    response.writeHead(200, { 'content-type': TYPES[path.extname(file)], 'content-security-policy': policy });
    createReadStream(file).pipe(response);
  });
}
