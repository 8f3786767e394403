/**
 * What is read of the Engine API's answers, API 1.25 and later. Fields that are not named here are let
 * by: newer engines have more of them. `null` stands for an empty list or mapping in many places.
 */
import { z } from 'zod'

const labels = z
  .record(z.string(), z.string())
  .nullish()
  .transform((value) => value ?? {})

/** An address, or nothing where the engine writes ''. */
const address = z
  .string()
  .nullish()
  .transform((value) => (value === '' || value === null ? undefined : value))

export const infoShape = z.object({
  Name: z.string().default(''),
  DockerRootDir: z.string().default('/var/lib/docker'),
  Swarm: z
    .object({
      NodeID: z.string().default(''),
      NodeAddr: z.string().default(''),
      LocalNodeState: z.string().default('inactive'),
      ControlAvailable: z.boolean().default(false),
      RemoteManagers: z
        .array(z.object({ Addr: z.string().default('') }))
        .nullish()
        .transform((value) => value ?? []),
    })
    .optional(),
})

export const listedContainerShape = z.object({ Id: z.string() })

export const containerShape = z.object({
  Id: z.string(),
  Name: z.string(),
  Created: z.string(),
  State: z.object({
    Running: z.boolean().default(false),
    Paused: z.boolean().default(false),
    Health: z.object({ Status: z.string() }).nullish(),
  }),
  Config: z.object({
    Hostname: z.string().default(''),
    Labels: labels,
    StopSignal: z.string().nullish(),
    StopTimeout: z.number().nullish(),
  }),
  NetworkSettings: z.object({
    SandboxKey: z.string().default(''),
    Networks: z
      .record(
        z.string(),
        z.object({
          NetworkID: z.string(),
          Gateway: address,
          IPAddress: address,
          IPv6Gateway: address,
          GlobalIPv6Address: address,
        }),
      )
      .nullish()
      .transform((value) => value ?? {}),
  }),
})

export const networkShape = z.object({
  Id: z.string(),
  Name: z.string(),
  Created: z.string().default(''),
  Driver: z.string(),
  Scope: z.string(),
  Ingress: z.boolean().default(false),
  Internal: z.boolean().default(false),
  IPAM: z
    .object({
      Config: z
        .array(
          z.object({
            Subnet: address,
            IPRange: address,
            Gateway: address,
            AuxiliaryAddresses: labels,
          }),
        )
        .nullish()
        .transform((value) => value ?? []),
    })
    .nullish(),
  Options: labels,
  Labels: labels,
})

export const eventShape = z.object({
  Type: z.string(),
  Action: z.string(),
  Actor: z.object({ ID: z.string(), Attributes: labels }),
})

export type Info = z.infer<typeof infoShape>
export type ContainerAnswer = z.infer<typeof containerShape>
export type NetworkAnswer = z.infer<typeof networkShape>
export type EngineEvent = z.infer<typeof eventShape>
