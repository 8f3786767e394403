/** What is read of the Engine API's answers about a swarm; `null` stands for an empty list. */
import { z } from 'zod'
import { networkShape } from '../docker/shapes.js'

const labels = z
  .record(z.string(), z.string())
  .nullish()
  .transform((value) => value ?? {})

function listOf<T extends z.ZodType>(item: T) {
  return z
    .array(item)
    .nullish()
    .transform((value) => value ?? [])
}

const target = z.object({ Target: z.string() })

const port = z.object({
  Protocol: z.string().default('tcp'),
  TargetPort: z.number().default(0),
  PublishedPort: z.number().default(0),
  PublishMode: z.string().default('ingress'),
})

export const serviceShape = z.object({
  ID: z.string(),
  CreatedAt: z.string().default(''),
  Spec: z.object({
    Name: z.string(),
    Labels: labels,
    TaskTemplate: z.object({ Networks: listOf(target) }),
    // Before API 1.44 a service could have its networks here.
    Networks: listOf(target),
    EndpointSpec: z.object({ Mode: z.string().default('vip') }).nullish(),
  }),
  Endpoint: z
    .object({
      Ports: listOf(port),
      VirtualIPs: listOf(z.object({ NetworkID: z.string(), Addr: z.string().default('') })),
    })
    .nullish(),
})

export const taskShape = z.object({
  ID: z.string(),
  ServiceID: z.string().default(''),
  NodeID: z.string().default(''),
  Slot: z.number().nullish(),
  DesiredState: z.string(),
  Status: z.object({ State: z.string() }),
  NetworksAttachments: listOf(
    z.object({ Network: z.object({ ID: z.string() }), Addresses: listOf(z.string()) }),
  ),
})

export const nodeShape = z.object({
  ID: z.string(),
  Description: z.object({ Hostname: z.string().default('') }),
  Status: z.object({ State: z.string(), Addr: z.string().default('') }),
  ManagerStatus: z.object({ Addr: z.string().default('') }).nullish(),
})

/** A network as a node's own gossip has it. */
export const gossipShape = z.object({
  Services: z
    .record(
      z.string(),
      z.object({
        VIP: z.string().default(''),
        /** `Target: 80, Publish: 8080`, on the ingress network. */
        Ports: listOf(z.string()),
        Tasks: listOf(
          z.object({
            Name: z.string().default(''),
            EndpointIP: z.string().default(''),
            /** `Host IP`: of its node. */
            Info: labels,
          }),
        ),
      }),
    )
    .nullish()
    .transform((value) => value ?? {}),
  Peers: listOf(z.object({ IP: z.string().default('') })),
})

/** The bridge by which containers on overlay networks reach the node, and the node them. */
export const gatewayShape = z.object({
  IPAM: networkShape.shape.IPAM,
  /** By id of the container. */
  Containers: z
    .record(z.string(), z.object({ IPv4Address: z.string().default('') }))
    .nullish()
    .transform((value) => value ?? {}),
})

export type ServiceAnswers = z.infer<typeof serviceShape>[]
export type TaskAnswers = z.infer<typeof taskShape>[]
export type NodeAnswers = z.infer<typeof nodeShape>[]
export type GatewayAnswer = z.infer<typeof gatewayShape>
export type GossipAnswer = z.infer<typeof gossipShape>
