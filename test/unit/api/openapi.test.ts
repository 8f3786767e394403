/** docs/reference/openapi.json: fresh, valid by another's word, and what servers answer. */
import { Validator } from '@seriousme/openapi-schema-validator'
import type { FastifyInstance } from 'fastify'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { newApp } from '../../../src/api/app.js'
import { openApiDocument, openApiText } from '../../../src/api/openapi.js'
import { operations } from '../../../src/api/operations.js'
import { addRoutes } from '../../../src/api/routes.js'
import { AnswerCheck } from '../../lib/openapi.js'
import { apiFixture } from './fixture.js'

const committed = join(import.meta.dirname, '../../../../docs/reference/openapi.json')

t.test('the committed document is fresh', (t) => {
  t.equal(
    readFileSync(committed, 'utf8'),
    openApiText(),
    'node dist/src/cli/writeSchema.js --update',
  )
  t.end()
})

t.test('it is OpenAPI 3.1, by an independent validator', async (t) => {
  const result = await new Validator().validate(openApiDocument())
  t.same(result.errors ?? [], [])
  t.ok(result.valid)
  const broken = { ...openApiDocument(), paths: { '/v1': { get: { responses: 3 } } } }
  t.notOk((await new Validator().validate(broken)).valid, 'the validator can say no')
})

function routesOf(app: FastifyInstance, add: () => void): string[] {
  const found: string[] = []
  app.addHook('onRoute', ({ method, url }) => {
    for (const each of [method].flat()) if (each !== 'HEAD') found.push(`${each} ${url}`)
  })
  add()
  return found.toSorted()
}

t.test('it has every route, and no other', (t) => {
  const { api } = apiFixture({ reload: () => Promise.resolve() })
  const app = newApp()
  const routes = routesOf(app, () => addRoutes(app, api, false))
  const described = Object.values(operations).map(
    ({ method, path }) => `${method} ${path.replace(/\{(\w+)\}/g, ':$1')}`,
  )
  t.same(routes, described.toSorted())
  const reading = newApp()
  const readOnly = routesOf(reading, () => addRoutes(reading, api, true))
  t.same(
    routes.filter((route) => !readOnly.includes(route)),
    ['GET /v1/pcap', 'POST /v1/reload'],
  )
  t.end()
})

t.test('parameters are required where nothing is answered without them', async (t) => {
  const { api } = apiFixture()
  const app = newApp()
  addRoutes(app, api, false)
  type Parameters = Readonly<Record<string, { get?: { parameters: Parameter[] } }>>
  interface Parameter {
    readonly name: string
    readonly in: string
    readonly required: boolean
  }
  const paths = openApiDocument()['paths'] as Parameters
  const required = (path: string): string[] =>
    (paths[path]?.get?.parameters ?? [])
      .filter((each) => each.in === 'query' && each.required)
      .map(({ name }) => name)
  t.same(required('/v1/explain'), ['client', 'vip', 'protocol'])
  t.same(required('/v1/pcap'), ['service'])
  const given = { client: '10.0.0.8', vip: '10.0.0.77:80', protocol: 'tcp' }
  for (const name of required('/v1/explain')) {
    const others = Object.entries(given).filter(([each]) => each !== name)
    const query = new URLSearchParams(others).toString()
    const answer = await app.inject(`/v1/explain?${query}`)
    t.equal(answer.statusCode, 422, name)
  }
  for (const path of Object.keys(paths).filter((path) => !/explain|pcap/.test(path)))
    t.same(required(path), [], path)
})

t.test('answers are of the shapes that it says, with no field that it does not name', async (t) => {
  const { api } = apiFixture()
  const app = newApp()
  addRoutes(app, api, false)
  const check = new AnswerCheck(openApiDocument())
  const paths = Object.values(operations).flatMap(({ method, path, answer }) =>
    method === 'GET' && typeof answer !== 'string' ? [path] : [],
  )
  for (const path of paths) {
    const query = path === '/v1/explain' ? '?client=10.0.0.8&vip=10.0.0.77:80&protocol=tcp' : ''
    const url = path.replace('{network}', 'overlay1').replace('{name}', 'vote') + query
    const answer = await app.inject(url)
    t.equal(answer.statusCode, 200, url)
    t.same(check.problems(path, 200, answer.json()), [], url)
  }
  const missing = await app.inject('/v1/services/a/b')
  t.same(check.problems('/v1/services/{network}/{name}', 404, missing.json()), [])
  t.not(check.problems('/v1/status', 200, { node: 3 }).length, 0, 'a wrong answer is seen')
  const more = { revision: 1, services: [], odd: 1 }
  t.not(check.problems('/v1/overview', 200, more).length, 0, 'so is a field that is not named')
})
