/**
 * Writes the JSON Schema of the file and the OpenAPI document to dist. With `--update`, also over the
 * committed copies; unit tests fail while those are stale.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openApiText } from '../api/openapi.js'
import { jsonSchemaText } from '../sources/file/schema.js'

const root = new URL('../../../', import.meta.url)
const written = [
  { name: 'fairlead.schema.json', committed: 'deploy', text: jsonSchemaText() },
  { name: 'openapi.json', committed: 'docs/reference', text: openApiText() },
]

for (const { name, committed, text } of written) {
  const folders = process.argv.includes('--update') ? ['dist', committed] : ['dist']
  for (const folder of folders) {
    const path = fileURLToPath(new URL(`${folder}/${name}`, root))
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  }
}
