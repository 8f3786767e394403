/** The command line: names of commands and how a mistake is told. */
import { Command } from 'commander'
import { version } from '../api/version.js'
import { addAgent } from './agent.js'
import { addChanges } from './changes.js'
import { addCheck } from './check.js'
import { addDetach } from './detach.js'
import { addDrops } from './drops.js'
import { addExplain } from './explain.js'
import { addFlows } from './flows.js'
import { addImport } from './import.js'
import { addList } from './list.js'
import { addMaps } from './maps.js'
import { addNetworks } from './networks.js'
import { addPcap } from './pcap.js'
import { addProbe } from './probe.js'
import { addProblems } from './problems.js'
import { addReload } from './reload.js'
import { addServices } from './services.js'
import { addShow } from './show.js'
import { addStatus } from './status.js'
import { addTop } from './top.js'
import { addWatch } from './watch.js'

const epilogue = `
Exit codes: 0 done, 1 failed, 2 wrong command line or file, 3 no agent answers, 4 not found,
5 a capability is missing. Environment: FAIRLEAD_SOCKET, NO_COLOR.`

/** @returns a program that throws CommanderError instead of ending the process */
export function buildProgram(): Command {
  const program = new Command('fairlead')
    .description('Service names, virtual IPs and layer-4 load balancing, by eBPF')
    .version(version)
    .exitOverride()
    .configureOutput({
      outputError: (text, write) => {
        write(text.replace(/^error: /, 'fairlead: ').replace(/\n(?=.)/g, ' '))
      },
    })
    .addHelpText('after', epilogue)
  const adders = [
    ...[addAgent, addCheck, addImport, addServices, addShow, addList, addNetworks, addStatus],
    ...[
      addProblems,
      addChanges,
      addFlows,
      addWatch,
      addExplain,
      addPcap,
      addTop,
      addDrops,
      addMaps,
      addReload,
      addProbe,
      addDetach,
    ],
  ]
  for (const add of adders) add(program)
  return program
}
