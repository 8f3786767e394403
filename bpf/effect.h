/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the headers of a decision do beside deciding: they write to maps. Compiled with
 * READ_ONLY (explain.bpf.c) they decide in the same way and write nothing, see readonly.h.
 *
 * Not a knob in .rodata: the verifier takes out branches that are never taken, but not what
 * was loaded to decide on them, and here that would be for every packet.
 */
#ifndef FAIRLEAD_EFFECT_H
#define FAIRLEAD_EFFECT_H

#ifdef READ_ONLY
#include "readonly.h"
#else

/* Asked before every plain store to a map's value. */
#define MAY_WRITE 1

/* A step's finding, for whoever explains it. */
#define NOTE(field, value) ((void)0)

/* A knob that differs between the instances of a program. */
#define INSTANCE const volatile

#endif

#endif
