/** Prometheus' own checker, where Debian's package prometheus is installed. */

import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'

export function findPromtool(): string | undefined {
  const paths = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'promtool'))
  return paths.find((path) => existsSync(path))
}
