/**
 * The web page in Chromium, on a real agent under real traffic. With FAIRLEAD_SCREENSHOTS set it writes
 * its pictures there, and takes longer: plots need a past.
 */
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { operations } from '../../src/api/operations.js'
import { until, sleep } from '../lib/netns.js'
import { AnswerCheck, askSocket, askStream } from '../lib/openapi.js'
import { CLIENT4 } from '../lib/stage.js'
import { Watched } from './browser.js'
import { PAGE, PageScene } from './scene.js'

const pictures = process.env['FAIRLEAD_SCREENSHOTS']
const PATIENCE_MS = 45_000
const PHONE = { width: 390, height: 844 }
const DESK = { width: 1440, height: 900 }

/** @param height of what is of interest; absent: the whole window */
async function picture(page: Page, name: string, height?: number): Promise<void> {
  if (pictures === undefined) return
  // What is under the pointer, or has the focus, looks another way.
  await page.mouse.move(0, 0)
  await page.evaluate('document.activeElement?.blur()')
  const { width } = page.viewportSize() ?? DESK
  const clip = height === undefined ? {} : { clip: { x: 0, y: 0, width, height } }
  await page.screenshot({ path: join(pictures, `${name}.png`), ...clip })
}

/** Waits until an element's text is as wanted. */
function shows(page: Page, selector: string, wanted: RegExp): Promise<string> {
  const look = async (): Promise<string> => {
    const text = (await page.locator(selector).allInnerTexts()).join('\n')
    if (wanted.test(text)) return text
    throw new Error(`${selector} is ${text}`)
  }
  return until(`${selector} to be ${String(wanted)}`, look, PATIENCE_MS).catch((error: unknown) => {
    throw error instanceof Error && error.cause instanceof Error
      ? new Error(`${error.message}: ${error.cause.message}`)
      : error
  })
}

const row = (name: string): string => `.services tbody tr:has(a:text("${name}"))`

t.test('the page', { timeout: pictures === undefined ? 250_000 : 500_000 }, async (t) => {
  const scene = await PageScene.build(t)
  const { stage } = scene
  const { agent } = stage
  const watched = await Watched.open(stage.lab, stage.node)
  t.teardown(() => watched.browser.close())
  const { page } = watched
  const quiet = (what: string): void =>
    void t.same(watched.takeComplaints(), [], `${what}: no complaints`)

  /** What follows builds on it: what fails is not made to fail a dozen times more. */
  const step = async (name: string, of: (t: Test) => Promise<void>): Promise<void> => {
    if (t.passing()) await t.test(name, of)
    else t.fail(`${name}: not tried`)
  }

  await step('asks for the token, and takes no other', async (t) => {
    await page.goto(PAGE)
    t.equal(await watched.focused(), 'Token of this agent', 'one may type at once')
    t.same(await watched.accessibility(), [])
    quiet('before anything is asked')
    await page.focus('#token')
    await page.keyboard.type('no-such-token-'.repeat(4))
    await page.keyboard.press('Enter')
    await shows(page, '[role=alert]', /does not know/)
    const complaints = watched.takeComplaints()
    t.ok(complaints.length > 0 && complaints.every((text) => text.includes('401')), 'only that')
    await page.fill('#token', scene.token)
    await page.keyboard.press('Enter')
    await shows(page, '.headline', /All 6 services are whole/)
    t.notMatch(page.url(), scene.token)
    quiet('signed in')
  })

  await step('shows what goes on, as it goes on', async (t) => {
    await shows(page, '.pulse', /Live/)
    await shows(page, row('web'), /all 4 active\s+0/)
    scene.startTraffic()
    await shows(page, row('web'), /active\s+[1-9]/)
    await shows(page, '.figure:first-child .value', /^[1-9][\d.]*\/s/)
    const active = await shows(page, '.figure:nth-child(2) .value', /^[1-9]/)
    const { counters } = await agent.api.counters()
    const told = counters.reduce((sum, each) => sum + each.active, 0)
    t.ok(Math.abs(Number(active) - told) <= 15, `${active} open, the kernel has ${told}`)
    t.ok(await page.locator(`${row('web')} .spark`).isVisible())
    quiet('under traffic')
  })

  await step('says what is wrong, and what changed', async () => {
    await stage.backends[3]?.server.stop('SIGKILL')
    await shows(page, row('web'), /3 of 4 active, 1 down/)
    await shows(page, '.headline', /2 of 6 services are not whole/)
    await shows(page, 'aside .changes', /10\.1\.0\.13 of shop\/web: active → down\s+.*refused/i)
    await agent.apply(scene.definition({ backends: weighted(scene) }))
    await shows(page, 'aside .changes', /10\.1\.0\.10 of shop\/web: weight 1 → 3/)
    if (pictures !== undefined) await sleep(60_000)
    await picture(page, 'overview', 740)
    quiet('with a backend down')
  })

  await step('one service', async () => {
    await page.locator(row('web')).getByRole('link').click()
    await shows(page, '.headline', /^web$/)
    await shows(
      page,
      '.standfirst',
      /3 of 4 backends take connections.*10\.1\.0\.13 is down: .*refused/i,
    )
    await shows(page, '.backends tbody tr:first-child', /10\.1\.0\.10\s+task-1\s+active\s+ok/)
    await until('lines in the plots', async () => {
      await shows(page, '.backends tbody tr:first-child', /\d+ %/)
      return (await drawn(page)).every((colours) => colours > 8)
    })
    await shows(page, '.readout >> nth=1', /from clients \S+ .?bit\/s/)
    if (pictures !== undefined) await sleep(45_000)
    await picture(page, 'service')
    await page.goBack()
    await shows(page, '.headline', /not whole/)
    quiet('one service')
  })

  await step('single connections', async (t) => {
    await page.goto(`${PAGE}#/events`)
    await shows(
      page,
      '.events tbody',
      /opened\s+10\.1\.0\.8:\d+\s+10\.1\.0\.10\d:80\s+10\.1\.0\.1\d:80\s+shop\//,
    )
    await shows(page, '.events tbody', /closed/)
    if (pictures !== undefined) await sleep(3_000)
    await page.getByRole('button', { name: 'Hold' }).click()
    await picture(page, 'events', 620)
    await page.getByLabel('opened').uncheck()
    await page.getByRole('button', { name: 'Go on' }).click()
    await until('other kinds alone', async () => {
      const first = page.locator('.events tbody tr:first-child')
      return !(await first.innerText()).includes('opened')
    })
    t.ok((await page.locator('.events tbody tr').count()) <= 200)
    quiet('events')
  })

  await step('why a packet goes there', async (t) => {
    await page.goto(`${PAGE}#/service/shop/web`)
    await page.getByRole('link', { name: 'Explain a connection' }).click()
    await page.getByLabel('From the client').fill(CLIENT4)
    await page.keyboard.press('Enter')
    await shows(page, '.outcome', /^It goes to 10\.1\.0\.1[0-2]:80$/)
    await shows(page, '.steps', /VIP has port 80: service shop\/web/)
    await shows(page, '.answer .backends', /10\.1\.0\.13\s+down/)
    await shows(
      page,
      '.answer .backends tr.chosen',
      /chosen\s+[1-9][\d.]*k?\s+[\d.]+k?\s+[\d.]+ ms/,
    )
    t.equal(await page.getByLabel('On the network').count(), 0, 'there is one alone')
    t.match(page.url(), /client=10\.1\.0\.8/, 'it can be sent to a colleague')
    await picture(page, 'explain', 770)
    await page.getByLabel('To', { exact: true }).fill('10.1.0.100:81')
    await page.keyboard.press('Enter')
    await shows(page, '.outcome', /refused|dropped/)
    await page.getByLabel('To', { exact: true }).fill('nonsense')
    await page.keyboard.press('Enter')
    await shows(page, 'p.answer', /not address:port/)
    const complaints = watched.takeComplaints()
    t.ok(
      complaints.every((text) => text.includes('422')),
      complaints.join('; '),
    )
  })

  await step('what the agent answers is as its description says', async (t) => {
    const { body: document } = await askSocket(agent.socket, '/v1/openapi.json')
    const check = new AnswerCheck(document)
    for (const { method, path, answer } of Object.values(operations)) {
      if (method !== 'GET' || typeof answer === 'string') continue
      const query = path === '/v1/explain' ? '?client=10.1.0.8&vip=10.1.0.100:80&protocol=tcp' : ''
      const asked = path.replace('{network}', 'shop').replace('{name}', 'web') + query
      const { status, body } = await askSocket(agent.socket, asked)
      t.equal(status, 200, asked)
      t.same(check.problems(path, status, body), [], asked)
    }
    const { status, body } = await askSocket(agent.socket, '/v1/flows?state=odd')
    t.same(check.problems('/v1/flows', status, body), [])
    for (const [path, query, wanted] of [
      ['/v1/live', '?service=shop%2Fweb', ['state', 'rates', 'changes']],
      ['/v1/events', '?rate=1', ['watching', 'flow', 'lost']],
    ] as const)
      for (const event of await askStream(agent.socket, path + query, wanted))
        t.same(check.problemsOfEvent(path, event), [], `${path}: ${event.event}`)
    t.not(check.problemsOfEvent('/v1/events', { event: 'lost', data: {} }).length, 0)
    t.not(check.problemsOfEvent('/v1/live', { event: 'state', data: { odd: 1 } }).length, 0)
  })

  await step('by keyboard alone', async (t) => {
    await page.goto(`${PAGE}#/services`)
    await page.reload()
    await shows(page, '.pulse', /Live/)
    const walk: string[] = []
    for (let at = 0; at < 20; at++) {
      await page.keyboard.press('Tab')
      walk.push((await watched.focused()).trim().split('\n')[0] ?? '')
    }
    t.equal(walk[0], 'Skip to the content')
    const order = [
      'Services',
      'Events',
      'Changes',
      'Explain',
      'Filter',
      'Service',
      'Backends',
      'shop/search',
      'shop/web',
    ]
    t.same(
      walk.filter((text) => order.includes(text)),
      order,
      walk.join(', '),
    )
    await page.keyboard.press('/')
    t.equal(await watched.focused(), 'Filter')
    await page.keyboard.type('cart')
    t.equal(await page.locator('.services tbody tr').count(), 1)
    for (let at = 0; at < 6 && (await watched.focused()) !== 'shop/cart'; at++)
      await page.keyboard.press('Tab')
    // Past the headings of columns.
    for (let at = 0; at < 6 && !(await watched.focused()).includes('cart'); at++)
      await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    await shows(page, '.headline', /^cart$/)
    t.equal(await page.evaluate('document.activeElement.id'), 'main', 'the new view is told')
    quiet('by keyboard')
  })

  const explained = '#/explain?client=10.1.0.8&vip=10.1.0.100%3A80&protocol=tcp'
  const views = ['#/services', '#/service/shop/web', '#/events', '#/changes', explained]

  await step('in light and dark, for everybody', async (t) => {
    for (const view of views) {
      await page.goto(`${PAGE}${view}`)
      await page.locator('h1').waitFor()
      if (view === '#/events') await holdEvents(page)
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.emulateMedia({ colorScheme })
        t.same(await watched.accessibility(), [], `${view} ${colorScheme}`)
      }
    }
    await page.emulateMedia({ colorScheme: 'light' })
    await page.goto(`${PAGE}#/changes`)
    await shows(page, 'h1', /What changed/)
    await picture(page, 'changes', 460)
    await page.emulateMedia({ colorScheme: 'dark' })
    await page.goto(`${PAGE}#/services`)
    const paper = (): Promise<string> =>
      page.evaluate('getComputedStyle(document.documentElement).backgroundColor')
    const dark = await paper()
    await page.getByRole('button', { name: 'Light' }).click()
    t.not(await paper(), dark)
    t.same(await watched.accessibility(), [], 'light where the system is dark')
    await page.getByRole('button', { name: 'Dark' }).click()
    t.equal(await paper(), dark)
    if (pictures !== undefined) await sleep(30_000)
    await picture(page, 'overview-dark', 740)
    quiet('light and dark')
  })

  await step('on a phone', async (t) => {
    await page.setViewportSize(PHONE)
    for (const view of views) {
      await page.goto(`${PAGE}${view}`)
      await page.locator('h1').waitFor()
      if (view === '#/events') await holdEvents(page)
      await sleep(200)
      t.equal(await watched.overflow(), 0, `${view} is not wider than the phone`)
      t.same(await watched.accessibility(), [], view)
    }
    await page.emulateMedia({ colorScheme: 'light' })
    await page.goto(`${PAGE}#/services`)
    await shows(page, row('web'), /3 of 4/)
    await picture(page, 'phone')
    await page.setViewportSize(DESK)
    quiet('on a phone')
  })

  await step('what others name is text, never markup', async (t) => {
    const markup = '<img src="x" onerror="document.title=1"><b>'
    const definition = scene.definition({ backends: weighted(scene) })
    const named = { name: markup, network: 'shop', vip: 'auto', ports: [80], backends: [] }
    await agent.apply({ ...definition, services: [...definition.services, named] })
    const address = encodeURIComponent(markup)
    for (const [view, selector] of [
      ['#/changes', '.problems'],
      [`#/explain?client=${address}&vip=10.1.0.100%3A80`, 'p.answer'],
      [`#/service/shop/${address}`, '.headline'],
    ] as const) {
      await page.goto(`${PAGE}${view}`)
      await shows(page, selector, /<img src="x" onerror="document\.title=1"><b>/i)
      t.equal(await page.locator('img[src=x]').count(), 0, view)
    }
    t.not(await page.title(), '1')
    await agent.apply(definition)
    await page.goto(`${PAGE}#/services`)
    await shows(page, '.headline', /of 6 services/)
    // Of a service that nobody has, asked for until the page was left.
    await sleep(1_000)
    const complaints = watched.takeComplaints()
    t.ok(
      complaints.every((text) => /40[04]|422/.test(text)),
      complaints.join('; '),
    )
  })

  await step('survives a restart of the agent', async (t) => {
    await page.goto(`${PAGE}#/services`)
    await shows(page, '.pulse', /Live/)
    await agent.stop()
    await shows(page, '.pulse', /No connection/)
    t.ok(await page.locator(row('web')).isVisible(), 'what was known stays')
    agent.start('--detach-on-exit')
    await agent.ready()
    await shows(page, '.pulse', /Live/)
    await shows(page, row('web'), /1 down\s+[1-9]/)
    await shows(page, 'aside .changes', /Agent started/)
    const complaints = watched.takeComplaints()
    t.ok(
      complaints.every((text) => /ERR_CONNECTION_REFUSED|ERR_INCOMPLETE|ERR_EMPTY/.test(text)),
      `of the time without an agent alone: ${complaints.join('; ')}`,
    )
    await sleep(500)
    quiet('after the restart')
  })

  await step('asks nobody but the agent, and ends when told', async (t) => {
    t.ok(watched.requests.length > 20)
    t.same(
      watched.requests.filter((url) => !url.startsWith(PAGE)),
      [],
    )
    t.same(
      watched.requests.filter((url) => url.includes(scene.token)),
      [],
    )
    await page.getByRole('button', { name: 'Sign out' }).click()
    await shows(page, 'label', /Token/)
    t.equal(await page.evaluate('sessionStorage.length'), 0)
  })
})

/** With few of them: axe looks at each. */
async function holdEvents(page: Page): Promise<void> {
  await page.locator('.events tbody .kind').first().waitFor()
  await page.getByRole('button', { name: 'Hold' }).click()
}

function weighted({ stage }: PageScene): object[] {
  return stage.backends.map(({ v4 }, at) => ({
    ...{ address: v4, slot: `task-${at + 1}`, weight: at === 0 ? 3 : 1 },
  }))
}

/** Of each canvas, how many colours it has: an empty one has few. */
function drawn(page: Page): Promise<number[]> {
  return page.evaluate(`[...document.querySelectorAll('.plots canvas')].map((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
    return new Set(new Uint32Array(data.buffer)).size
  })`)
}
