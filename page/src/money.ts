// Prices. The API has whole numbers in strings.

export interface Prices {
  default_price?: string | null;
  original_price: string | null;
  sale_price: string | null;
}

function amount(text: string | null | undefined): number | null {
  return typeof text === 'string' && /^[0-9]{1,10}$/.test(text) ? Number(text) : null;
}

/**
 * Returns the price to pay, and in `before` the price that it replaces. A sale is a number above 0: the data has "0" for
 * products that are on no sale. Both are null without a price.
 */
export function price(prices: Prices): { now: number | null; before: number | null } {
  const regular = amount(prices.original_price) ?? amount(prices.default_price);
  const sale = amount(prices.sale_price);
  if (sale === null || sale <= 0) return { now: regular, before: null };
  return { now: sale, before: regular !== null && regular > sale ? regular : null };
}

/** Returns the discount in whole percent, from 1 to 99: neither nothing nor a gift. */
export function discount(now: number, before: number): number {
  return Math.min(99, Math.max(1, Math.round((1 - now / before) * 100)));
}

/** Returns a function that writes amounts in a currency. Without a valid one (ISO 4217), it writes plain numbers. */
export function formatter(currency: string): (amount: number) => string {
  const options: Intl.NumberFormatOptions = { maximumFractionDigits: 0 };
  try {
    return new Intl.NumberFormat('en', { ...options, style: 'currency', currency, currencyDisplay: 'narrowSymbol' })
      .format;
  } catch {
    return new Intl.NumberFormat('en', options).format;
  }
}

export const count = new Intl.NumberFormat('en').format;

/** Writes a number of things: `1 piece`, `2,000 pieces`. */
export function pieces(n: number): string {
  return `${count(n)} ${n === 1 ? 'piece' : 'pieces'}`;
}
