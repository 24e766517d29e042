/**
 * The figures that the original published, by number of clients: averages of
 * ten runs, on a machine of its own. Latency in milliseconds, throughput in
 * operations per second.
 */

import type { OperationName } from '../calls.ts'

export interface Published {
  latencyMs: number
  throughput: number
}

export const PUBLISHED: Readonly<Record<number, Readonly<Record<OperationName, Published>>>> = {
  1: {
    get_seller_rating: { latencyMs: 1.699, throughput: 629.139 },
    search_items: { latencyMs: 1.289, throughput: 893.7 },
    display_items_for_sale: { latencyMs: 1.722, throughput: 600.095 },
    register_item_for_sale: { latencyMs: 0.755, throughput: 1328.254 },
  },
  10: {
    get_seller_rating: { latencyMs: 6.506, throughput: 1601.312 },
    search_items: { latencyMs: 4.17, throughput: 2455.822 },
    display_items_for_sale: { latencyMs: 5.987, throughput: 1692.643 },
    register_item_for_sale: { latencyMs: 4.325, throughput: 2313.872 },
  },
  100: {
    get_seller_rating: { latencyMs: 68.929, throughput: 1468.76 },
    search_items: { latencyMs: 55.809, throughput: 1831.234 },
    display_items_for_sale: { latencyMs: 73.735, throughput: 1404.543 },
    register_item_for_sale: { latencyMs: 74.815, throughput: 1351.54 },
  },
}
