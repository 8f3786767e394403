/** The `fairlead` command as a child process, against a real API over a report that tests write. */
import { execFile, type ExecFileException } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { ApiServer, type ApiServerOptions } from '../../../src/api/apiServer.js'
import { Journal } from '../../../src/api/journal.js'
import type { State } from '../../../src/model/types.js'
import { FixtureReadback, type Report, report, service, stateOf } from '../metrics/fixture.js'

export const command = join(import.meta.dirname, '../../../src/cli/fairlead.js')

export interface Done {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** @param environment merged over a clean one, in which nothing asks for or against colour */
export function run(
  file: string,
  args: readonly string[],
  environment: Record<string, string> = {},
): Promise<Done> {
  const { PATH = '', HOME = '' } = process.env
  const env = { PATH, HOME, TERM: 'xterm', ...environment }
  return new Promise((resolve) => {
    const finish = (error: ExecFileException | null, stdout: string, stderr: string): void => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
      resolve({ code, stdout, stderr })
    }
    execFile(file, args, { env, timeout: 20_000, maxBuffer: 1e8, encoding: 'utf8' }, finish)
  })
}

export const fairlead = (...args: string[]): Promise<Done> =>
  run(process.execPath, [command, ...args])

export function folderOf(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'fairlead-cli-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** An API that answers with `state` and `told`. */
export async function agentWith(
  t: Test,
  state: State = stateOf([service({})]),
  told: Report = report(),
  options: Partial<ApiServerOptions> = {},
) {
  const socket = join(folderOf(t), 'api.sock')
  const server = new ApiServer({
    socketPath: socket,
    node: 'node1',
    version: '1.2.3',
    kernel: '6.18.0',
    ipvs: 'absent',
    journal: new Journal(),
    readback: new FixtureReadback(told),
    state: () => state,
    answering: () => told.reconcile.revision,
    sources: [{ name: 'file', from: '/etc/fairlead.yaml' }],
    ...options,
  })
  await server.listen()
  t.teardown(() => server.close())
  return {
    socket,
    ask: (...args: string[]): Promise<Done> => fairlead(...args, '--socket', socket),
  }
}
