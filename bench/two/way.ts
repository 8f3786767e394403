/** The file between two machines: how the generator reaches what the other one has set up. */
import { PORT } from '../frame/stage.js'

export interface Way {
  readonly subject: string
  readonly title: string
  readonly services: number
  /** What clients dial. */
  readonly dial: string
  readonly port: typeof PORT
  /** Of the balancer's NIC. */
  readonly mac: string
  readonly kernel: string
}
