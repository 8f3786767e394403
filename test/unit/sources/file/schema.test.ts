import { readFileSync } from 'node:fs'
import t from 'tap'
import { jsonSchemaText } from '../../../../src/sources/file/schema.js'

const root = new URL('../../../../../', import.meta.url)

t.test('the committed JSON Schema is fresh', (t) => {
  const committed = readFileSync(new URL('deploy/fairlead.schema.json', root), 'utf8')
  t.equal(committed, jsonSchemaText(), 'else: node dist/src/cli/writeSchema.js --update')
  t.end()
})

t.test('the reference documents every field', (t) => {
  const reference = readFileSync(new URL('docs/reference/configuration.md', root), 'utf8')
  for (const name of fieldNames(JSON.parse(jsonSchemaText()))) {
    t.ok(reference.includes(`\`${name}\``), name)
  }
  t.end()
})

function fieldNames(schema: unknown): Set<string> {
  const names = new Set<string>()
  const visit = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return
    if ('properties' in node && typeof node.properties === 'object' && node.properties !== null) {
      for (const name of Object.keys(node.properties)) names.add(name)
    }
    for (const child of Object.values(node)) visit(child)
  }
  visit(schema)
  return names
}
