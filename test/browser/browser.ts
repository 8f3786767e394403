/**
 * Chromium within a namespace of a lab: all that it can reach is that namespace's loopback, and each
 * request that it makes is written down.
 */
import axe from 'axe-core'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Browser, chromium, type Page } from 'playwright-core'
import type { Namespace, NetLab } from '../lib/netns.js'

const program = '/usr/bin/chromium'
const flags = [
  ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
  ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
]

/** A name in a shell's single quotes. */
const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`

export class Watched {
  /** URLs of all requests. */
  readonly requests: string[] = []
  /** What the console said that is no information, and exceptions of scripts. */
  readonly complaints: string[] = []

  private constructor(
    readonly browser: Browser,
    readonly page: Page,
  ) {}

  /** With a profile of its own, which is empty. */
  static async open(lab: NetLab, space: Namespace): Promise<Watched> {
    const folder = mkdtempSync(join(tmpdir(), 'fairlead-browser-'))
    lab.atClose(() => rmSync(folder, { recursive: true, force: true }))
    // Playwright starts one file: this one enters the namespace on the way.
    const entered = join(folder, 'chromium')
    writeFileSync(
      entered,
      `#!/bin/sh\nexec nsenter --net=${quoted(space.path)} -- ${program} "$@"\n`,
    )
    chmodSync(entered, 0o700)
    const browser = await chromium.launch({ executablePath: entered, args: flags })
    const context = await browser.newContext({
      ...{ viewport: { width: 1440, height: 900 }, locale: 'en-GB', timezoneId: 'UTC' },
      colorScheme: 'light',
    })
    const watched = new Watched(browser, await context.newPage())
    watched.#listen()
    return watched
  }

  #listen(): void {
    this.page.on('request', (request) => this.requests.push(request.url()))
    this.page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) this.complaints.push(message.text())
    })
    this.page.on('pageerror', (error) => this.complaints.push(String(error)))
  }

  /** Complaints so far, which are then forgotten. */
  takeComplaints(): string[] {
    return this.complaints.splice(0)
  }

  /** What axe finds wrong, as `rule: the elements`. */
  async accessibility(): Promise<string[]> {
    // By the debugger's protocol, which the page's own policy does not bind.
    await this.page.evaluate(axe.source)
    const results: axe.AxeResults = await this.page.evaluate('axe.run(document)')
    return results.violations.map(
      ({ id, nodes }) =>
        `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary ?? ''}`).join(' | ')}`,
    )
  }

  /** By how many pixels the page is wider than the window. */
  overflow(): Promise<number> {
    return this.page.evaluate(
      'document.documentElement.scrollWidth - document.documentElement.clientWidth',
    )
  }

  /** What the keyboard is at: its text, or its label. */
  focused(): Promise<string> {
    return this.page.evaluate(
      `(() => {
        const at = document.activeElement
        return at.labels?.[0]?.innerText ?? (at.innerText || at.id || at.tagName)
      })()`,
    )
  }
}
