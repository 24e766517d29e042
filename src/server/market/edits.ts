/**
 * Edits of what an item is: its name, category, keywords and condition. Nothing
 * else writes these columns and edits write no others, so an edit undoes no
 * change of price, units or votes. An item on sale moves to its new keywords in
 * the same transaction.
 */

import type { Item } from '../../contract/operations.ts'
import type { Statement } from '../../db/lane.ts'
import type { Decision } from '../../db/plan.ts'
import type { Handlers } from './handler.ts'
import { repostItems } from './items.ts'
import { lockStock, NO_SUCH_ITEM } from './stock.ts'

export const sellerEdits: Handlers<'seller', 'edit_item'> = {
  edit_item: {
    writes: 'product',
    cap: 200,
    inFlight: 1,
    async decide(lane, calls) {
      const itemIds = calls.map((call) => call.params.item_id)
      const stock = await lockStock(lane, itemIds)
      const edited = new Map<number, Item>()
      const decisions = calls.map(({ account, params }): Decision<Item> => {
        const held = stock.firstHeld([params.item_id])
        if (held !== undefined) return { held }
        const item = edited.get(params.item_id) ?? stock.get(params.item_id)
        if (item?.seller_id !== account.id) return { refused: NO_SUCH_ITEM }
        const { name = item.name, category = item.category } = params
        const { keywords = item.keywords, condition = item.condition } = params
        const after = { ...item, name, category, keywords, condition }
        edited.set(item.item_id, after)
        return { ok: after }
      })
      const edits = [...edited].map(([id, after]): Edit => ({ before: stock.get(id) as Item, after }))
      return { decisions, writes: writeEdits(edits) }
    },
  },
}

interface Edit {
  before: Readonly<Item>
  after: Item
}

function writeEdits(edits: readonly Edit[]): Statement[] {
  return [
    {
      sql: 'UPDATE item SET name = ?, category = ?, keywords = ?, item_condition = ? WHERE id = ?',
      rows: edits.map(({ after }) => [
        after.name,
        after.category,
        after.keywords.join('\n'),
        after.condition,
        after.item_id,
      ]),
    },
    ...repostItems(edits.filter(({ after }) => after.quantity > 0)),
  ]
}
