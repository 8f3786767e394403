/** What a scene tells while it is played: titles, commands with their output, and checks, counted. */
const colour = process.stdout.isTTY
let checks = 0

export function title(text: string): void {
  console.log(colour ? `\n\x1b[1m== ${text}\x1b[0m` : `\n== ${text}`)
}

/** @throws Error with `what` and `detail` unless it holds */
export function check(what: string, holds: boolean, detail = ''): void {
  checks++
  if (!holds) throw new Error(`${what}${detail ? `: ${detail}` : ''}`)
  console.log(`   ok: ${what}`)
}

/** A command as somebody at `prompt` has typed it. */
export function print(prompt: string, command: readonly string[], output = ''): void {
  console.log(` ${prompt}$ ${command.join(' ')}`)
  for (const line of output.trimEnd().split('\n').filter(Boolean)) console.log(`   ${line}`)
}

/** How many checks have held so far. */
export function checked(): number {
  return checks
}
