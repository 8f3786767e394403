/**
 * Writes the JSON Schema of the file to dist. With `--update`, also over the committed copy that
 * editors use; a unit test fails while that one is stale.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { jsonSchemaText } from '../sources/file/schema.js'

const root = new URL('../../../', import.meta.url)
const copies = ['dist/fairlead.schema.json']
if (process.argv.includes('--update')) copies.push('deploy/fairlead.schema.json')

for (const copy of copies) {
  const path = fileURLToPath(new URL(copy, root))
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, jsonSchemaText())
}
