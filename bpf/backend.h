/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Rows of backends, and whether what was recorded of one still holds.
 */
#ifndef FAIRLEAD_BACKEND_H
#define FAIRLEAD_BACKEND_H

#include "maps.h"

/*
 * backend_of() - the backend row of an id, if it still serves that service.
 *
 * Returns NULL when the row is free or belongs to another service by now.
 */
static __always_inline struct backend *backend_of(__u32 backend_id, __u32 service_id)
{
	struct backend *backend = bpf_map_lookup_elem(&backends, &backend_id);

	if (!backend || !service_id || backend->service != service_id)
		return NULL;
	return backend;
}

/*
 * backend_alive() - the same for a recorded choice: also not another incarnation,
 * which a reused id would be.
 */
static __always_inline struct backend *backend_alive(__u32 backend_id, __u32 service_id,
						     __u32 incarnation)
{
	struct backend *backend = backend_of(backend_id, service_id);

	if (!backend || backend->incarnation != incarnation)
		return NULL;
	return backend;
}

#endif
