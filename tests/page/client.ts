// A client with the types of openapi.json, as docs/http-api.md describes it. `make test-page` compiles it strictly and runs
// it with the URL of a host and with that of the functions, which have the dataset of tests/data/small.

import createClient from 'openapi-fetch';
import type { components, paths } from './out/openapi.js';

declare const process: { argv: string[] };

const api = createClient<paths>({ baseUrl: process.argv[2]!, headers: { Authorization: `client-${Math.random()}` } });

function expect(isTrue: boolean, what: string): asserts isTrue {
  if (!isTrue) throw new Error(what);
}

const list = await api.GET('/products', { params: { query: { page: 2, count: 3 } } });
expect(list.data?.map((product) => product.id).join() === '7,9,12', 'the second page');
expect(list.response.headers.get('x-total-count') === '7', 'the total count');

const styles = await api.GET('/products/{product_id}/styles', { params: { path: { product_id: 2 } } });
const style = styles.data?.results.find((style) => style['default?']);
expect(style?.sale_price === '18', 'a price is text');
const price: string | null = style.sale_price;
const [skuId, sku] = Object.entries(style.skus)[0]!;
expect(skuId === '10' && sku.size === 'M', 'a sku by its id');
const quantity: number | null = sku.quantity;
const placeholder: string | null | undefined = styles.data?.results[0]?.photos[0]?.url;
expect(price !== null && quantity !== null && placeholder === null, 'a placeholder is null');

const unknown = await api.GET('/products/{product_id}', { params: { path: { product_id: 3 } } });
const problem: components['schemas']['Problem'] | undefined = unknown.error;
expect(unknown.data === undefined && problem?.status === 404 && problem.detail !== '', 'a problem');

// The body of a 201 is text, and openapi-fetch expects JSON by default.
const added = await api.POST('/cart', { body: { sku_id: skuId }, parseAs: 'text' });
expect(added.response.status === 201 && added.data === 'Created', 'an addition with the key of a sku');
await api.POST('/cart', { body: { sku_id: 1, count: 2 }, parseAs: 'text' });
const cart = await api.GET('/cart');
expect(JSON.stringify(cart.data) === '[{"sku_id":10,"count":1},{"sku_id":1,"count":2}]', 'the cart');
const set = await api.PUT('/cart/{sku_id}', { params: { path: { sku_id: 1 } }, body: { count: 3 } });
expect(set.data?.count === 3, 'a line that was set');
const lines = await api.GET('/cart/lines');
const stock: number | null | undefined = lines.data?.[1]?.quantity;
expect(lines.data?.[1]?.product_name === 'Thistle Raincoat' && stock === 8, 'a line with its product');
const cards = await api.GET('/cards', { params: { query: { ids: '9,2' } } });
expect(cards.data?.[1]?.sale_price === '18' && cards.data[0]?.in_stock === true, 'cards by id');
const found = await api.GET('/products', { params: { query: { q: 'barge boo' } } });
expect(found.data?.length === 1 && found.data[0]?.id === 7, 'a search');
const categories = await api.GET('/categories');
expect(categories.data?.[1]?.category === 'Boots' && categories.data[1].products === 1, 'the categories');
const catalog = await api.GET('/catalog');
expect(catalog.data?.products === 7 && catalog.data.generation >= 1, 'the catalog');
const removed = await api.DELETE('/cart/{sku_id}', { params: { path: { sku_id: 1 } } });
expect(removed.response.status === 204, 'a removed line');

// The types exclude these requests and members.
export const rejected = () => {
  // @ts-expect-error: an unknown path
  void api.GET('/reviews');
  // @ts-expect-error: a missing parameter
  void api.GET('/products/{product_id}');
  // @ts-expect-error: a body without sku_id
  void api.POST('/cart', { body: { count: 1 } });
  // @ts-expect-error: a member that no product has
  return list.data?.[0]?.features;
};
