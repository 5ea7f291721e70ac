// Builds the page into dist/, whose files have the paths that they are served at. With --test, builds the unit tests into
// out/ instead. `make page` runs both.

import { execFileSync } from 'node:child_process';
import { copyFile, mkdir, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { build } from 'esbuild';

const HERE = import.meta.dirname;
const bin = (name, ...options) => {
  execFileSync(path.join(HERE, 'node_modules/.bin', name), options, {
    cwd: HERE,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
};

if (process.argv.includes('--test')) {
  const tests = (await readdir(path.join(HERE, 'test'))).map((name) => path.join(HERE, 'test', name));
  await build({
    entryPoints: tests,
    bundle: true,
    platform: 'node',
    format: 'esm',
    outdir: path.join(HERE, 'out'),
    outExtension: { '.js': '.mjs' },
  });
} else {
  bin('openapi-typescript', '../openapi.json', '--output', 'out/openapi.d.ts');
  bin('tsc', '--project', '.');
  const dist = path.join(HERE, 'dist');
  await rm(dist, { recursive: true, force: true });
  await mkdir(path.join(dist, 'page'), { recursive: true });
  await build({
    entryPoints: { app: path.join(HERE, 'src/app.ts') },
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    charset: 'utf8',
    legalComments: 'none',
    outdir: path.join(dist, 'page'),
  });
  await build({
    entryPoints: { app: path.join(HERE, 'src/app.css') },
    minify: true,
    target: ['chrome111', 'firefox113', 'safari16.4'],
    outdir: path.join(dist, 'page'),
  });
  await copyFile(path.join(HERE, 'src/index.html'), path.join(dist, 'index.html'));
}
