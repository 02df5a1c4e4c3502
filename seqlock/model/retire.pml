/*
 * Retirement: do all followers end at the region file that is at the path?
 *
 * One writer attaches to the region file at the path, publishes into it, and
 * makes new files that take its place: another region, because the old one does
 * not fit any more (another K, damage), because it was lost, or for no reason;
 * or the same region, with its id, in a larger file, because it grew. It may die after every step, DEATHS times, and be followed by
 * another one; it may also stop for ever anywhere. FOLLOWERS followers read,
 * sleep, and change over. A stranger, the administrator say, may remove the file
 * from the path, REMOVALS times.
 *
 * Bounds: K slots; FILES files, made with names or without; PUBLICATIONS besides
 * the first one of each file; DEATHS successions; FOLLOWERS followers; REMOVALS
 * removals. Images have no words here (ring.pml), and no process requeues
 * (notify.pml). A new region begins behind all generations so far, or at 1 as
 * after the loss of the state directory; one that grows begins its new file at
 * the next generation.
 *
 * Time. What a follower does in intervals, looking at the path of a retired
 * region, it does here when there is something new to see. The bounded wait of
 * a sleeper, and the age at which a heartbeat belongs to a dead writer, are over
 * when nothing else can happen any more: the first rest shows what needs no
 * time, the last one what does.
 *
 * Promises, as pan names them when one is broken:
 *
 *   region_at_path_is_whole      a file that can be opened has a generation,
 *                                and its current slot is whole, at every store
 *   retired_is_final             nothing is stored to a retired hot word
 *   never_backwards_within_id    what is accepted from a region id does not fall
 *   followers_at_newest          at rest, after Publish, Attach or Create
 *                                returned, and with no removal: every follower has
 *                                the current generation of the file at the
 *                                path, without the bounded wait
 *   late_by_two_waits_at_most    it is so in any case where there is a file at the
 *                                path. One wait is not enough for a writer that
 *                                died between commit and wake in a file that
 *                                was then removed: the first shows the
 *                                generation, the second that no writer beats
 *   invalid end state            a process waits where it may not
 *
 * A mutation is the macro that breaks the protocol; model_test.go has the list.
 */

#ifndef K
#define K 2
#endif
#ifndef FILES
#define FILES 3
#endif
#ifndef PUBLICATIONS
#define PUBLICATIONS 1
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef FOLLOWERS
#define FOLLOWERS 2
#endif
#ifndef REMOVALS
#define REMOVALS 0
#endif
#define SLOT(g) ((g) % K) /* Ring.Slot */
#define NONE 0

/* The files, from 1. A hot word is generation<<1 | retired, as it really is. */
byte hot[FILES + 1];
byte sequence[(FILES + 1) * K];
#define SEQUENCE(f, g) sequence[(f) * K + SLOT(g)]
#define GENERATION(word) ((word) / 2)
#define RETIRED(word) ((word) % 2)
#define WHOLE(f, g) (SEQUENCE(f, g) == 2 * (g) + 2) /* Ring.Whole */

/* The directory: region.v1 and .region.v1.new. */
byte path = NONE, temp = NONE;

byte id[FILES + 1]; /* the region that a file is of */
#ifdef M_SAME_ID
#define NEW_ID 1 /* a new region with the id of the old one */
#else
#define NEW_ID made
#endif
#define SAME_ID(a, b) (id[a] == id[b])

/* What the judge knows, and what the followers have. */
byte made, published, deaths, top;
byte attached = NONE;    /* the file that a living writer beats in */
bool returned;           /* Publish, Attach or Create returned, and nothing was stored since */
bool late;               /* the bounded wait is over */
#if REMOVALS > 0
byte removed;
#else
#define removed 0
#endif
byte at[FOLLOWERS];      /* the file that is mapped */
byte has[FOLLOWERS];     /* the generation of the snapshot */
byte asleep[FOLLOWERS];  /* the file on whose hot word it is queued */

bool region_at_path_is_whole = true;
bool retired_is_final = true;
bool never_backwards_within_id = true;
bool followers_at_newest = true;
bool late_by_two_waits_at_most = true;
#define PROMISE(name, condition) name = (condition); assert(name)

/* AT_PATH is looked at with every store to a file or to the directory. */
#define AT_PATH PROMISE(region_at_path_is_whole, path == NONE \
	|| (GENERATION(hot[path]) != 0 && WHOLE(path, GENERATION(hot[path]))))

#define MORTAL                                                       \
	if                                                               \
	:: true                                                          \
	:: deaths < DEATHS -> deaths++; attached = NONE; goto attach     \
	:: attached = NONE; goto stop                                    \
	fi

#define BEGIN(f)    atomic { SEQUENCE(f, g) = 2 * g + 1; AT_PATH; MORTAL } /* Ring.Begin */
#define COMPLETE(f) atomic { SEQUENCE(f, g) = 2 * g + 2; AT_PATH; MORTAL } /* layout.store, Ring.Complete */
#define COMMIT(f)   atomic { PROMISE(retired_is_final, !RETIRED(hot[f])); \
	hot[f] = 2 * g; top = (g > top -> g : top); returned = false; AT_PATH; MORTAL } /* Ring.Commit */
#define WAKE(f)     atomic { wake_all(f); MORTAL } /* wake(everyWaiter) */

inline wake_all(f) {
	do
	:: i < FOLLOWERS ->
		if
		:: asleep[i] == f -> asleep[i] = NONE
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0
}

/* FILL makes a file that no process can see yet: layout.fill. */
#define FILL BEGIN(temp); COMPLETE(temp); COMMIT(temp)

/* RETIRE: Writer.retireOld, of the attached file or else of the one at the path. */
#ifdef M_RETIRE_FORGETS
#define MARK 1
#else
#define MARK (hot[old] / 2 * 2 + 1)
#endif
#define RETIRE_STORE atomic { old = (attached != NONE -> attached : path); \
	if                                                                    \
	:: old != NONE -> hot[old] = MARK; returned = false; AT_PATH          \
	:: else                                                               \
	fi; MORTAL } /* Ring.Retire */
#define RETIRE_WAKE atomic { if :: old != NONE -> wake_all(old) :: else fi; MORTAL }

/* RENAME: renameat, which readers see at once; what was at the path lives on where it is mapped. */
#define RENAME atomic { path = temp; temp = NONE; AT_PATH; MORTAL }

#define TOP_PLUS_1 g = top + 1
#define FROM_1     g = 1

active proctype writer() {
	byte g, i, old;

	atomic { goto create }; /* region.attach of the first daemon: there is no region */
attach:
	atomic {
		g = 0; i = 0; old = NONE;
		if
		:: path == NONE -> goto create                        /* ErrNoRegion */
		:: path != NONE && made < FILES -> goto create        /* it does not fit, or it is damaged */
#ifndef M_GO_ON_IN_RETIRED
		:: path != NONE && RETIRED(hot[path]) -> goto create  /* Writer.usable */
		:: path != NONE && !RETIRED(hot[path]) -> attached = path
#else
		:: path != NONE -> attached = path
#endif
		fi;
		MORTAL
	};
	WAKE(attached); /* Writer.Attach */
	atomic { returned = true; MORTAL };
ready: /* Daemon.Run: region.check, and then what there is to do */
	atomic {
		if
		:: path != attached -> goto create /* Writer.Check: ErrLost */
		:: path == attached && published < PUBLICATIONS -> published++; g = GENERATION(hot[attached]) + 1
		:: path == attached && made < FILES -> goto create
		:: path == attached && made < FILES && published < PUBLICATIONS -> published++; goto grow
		:: path == attached && made == FILES && published == PUBLICATIONS -> goto idle
		fi
	};
	/* Writer.Publish */
	BEGIN(attached); COMPLETE(attached); COMMIT(attached); WAKE(attached);
	atomic { returned = true; MORTAL };
	goto ready;

grow: /* Writer.grow: the image is larger than a slot */
	atomic {
		made++;
		temp = made;
		id[temp] = id[attached];
#ifdef M_GROWTH_STARTS_OVER
		FROM_1;
#else
		g = GENERATION(hot[attached]) + 1;
#endif
		MORTAL;
		goto fill
	};

create: /* Writer.Create */
	atomic {
		if
		:: made == FILES -> attached = NONE; returned = false; goto stop /* a bound of the model */
		:: else
		fi;
#ifdef M_KEEP_TEMP
		if
		:: temp != NONE -> goto rename /* takes what a dead writer left for whole */
		:: else
		fi;
#endif
		made++;
		temp = made; /* Writer.createTemp: removes what a dead writer left there */
		id[temp] = NEW_ID;
		if
		:: TOP_PLUS_1 /* region.create */
		:: top > 0 -> FROM_1
		fi;
		MORTAL
	};
fill: /* Writer.replace */
#if defined(M_RENAME_BEFORE_FILL)
	RETIRE_STORE; RETIRE_WAKE; old = temp; RENAME; BEGIN(old); COMPLETE(old); COMMIT(old);
#elif defined(M_NO_RETIRE)
	FILL; RENAME;
#elif defined(M_NO_WAKE_AT_RETIRE)
	FILL; RETIRE_STORE; RENAME;
#elif defined(M_WAKE_BEFORE_RETIRE)
	FILL; atomic { old = (attached != NONE -> attached : path) }; RETIRE_WAKE; RETIRE_STORE; RENAME;
#elif defined(M_RETIRE_AFTER_RENAME)
	FILL; atomic { old = (attached != NONE -> attached : path); path = temp; temp = NONE; AT_PATH; MORTAL };
	atomic { if :: old != NONE -> hot[old] = MARK :: else fi; MORTAL }; RETIRE_WAKE;
#else
	FILL; RETIRE_STORE; RETIRE_WAKE;
rename:
	RENAME;
#endif
	atomic { old = NONE; g = 0; attached = path; returned = true; MORTAL }; /* Writer.release, Writer.adopt */
	goto ready;

idle: /* it lives, beats, and looks whether its file is still at the path: Daemon.tend */
end_idle:
	atomic { path != attached -> goto create };
stop:
	atomic { g = 0; i = 0; old = NONE }
}

/* ACCEPT is a pass over the file f by Region.Read, whose second look is its first here. */
#define ACCEPT(f)                                                                             \
	PROMISE(never_backwards_within_id, !SAME_ID(f, at[me]) || GENERATION(h) >= has[me]);      \
	at[me] = f;                                                                               \
	has[me] = GENERATION(h)

active [FOLLOWERS] proctype follower() {
	byte h, next;
	byte me = _pid - 1;

end_first:
	path != NONE; /* Lazy, or Wait: looks at the path until there is something */
	next = path;
	goto open;

refresh: /* Client.refreshFrom: Region.Read of the file at hand */
	h = hot[at[me]];
	if
	:: atomic { WHOLE(at[me], GENERATION(h)) -> ACCEPT(at[me]) }
#ifndef M_WAIT_FOR_WHOLE
	:: atomic { !WHOLE(at[me], GENERATION(h)) -> goto refresh }
#endif
	fi;
	if
	:: atomic { !RETIRED(h) -> h = 0; goto follow }
	:: RETIRED(h)
	fi;
#ifdef M_LOOK_ONCE
	/* Looks at the path once, and sleeps on the retired hot word if nothing is there yet. */
	atomic {
		if
		:: path != at[me] && path != NONE -> next = path; goto open
		:: else
		fi
	};
	if
	:: atomic { hot[at[me]] == h -> asleep[me] = at[me] }
	:: atomic { hot[at[me]] != h -> goto refresh }
	fi;
end_retired:
	atomic { asleep[me] == NONE -> goto follow };
#else
look: /* Client.lookAtPath, and after a while again from Client.follow */
end_look:
	if
	:: atomic { path != at[me] && path != NONE -> next = path } /* Region.Replaced; shm.Open */
	:: atomic { hot[at[me]] != h -> goto refresh }
	fi;
#endif
open: /* shm.Open, Client.refreshFrom */
	h = hot[next];
	if
	:: atomic { WHOLE(next, GENERATION(h)) -> ACCEPT(next); next = NONE }
	:: atomic { !WHOLE(next, GENERATION(h)) -> goto open }
	fi;
	h = 0;

follow: /* Client.follow: Region.Hot is what the snapshot has? */
	if
	:: atomic { hot[at[me]] != 2 * has[me] -> goto refresh }
	:: hot[at[me]] == 2 * has[me]
	fi;
	if /* Region.Wait: the kernel compares and queues under one lock */
	:: atomic { hot[at[me]] != 2 * has[me] -> goto follow }
	:: atomic { hot[at[me]] == 2 * has[me] -> asleep[me] = at[me] }
	fi;
end_asleep:
	asleep[me] == NONE;
	/* Client.sleepOn: a region whose writer is silent may have been replaced */
	atomic {
		if
#ifndef M_TRUST_THE_WORD
		:: late && attached != at[me] && hot[at[me]] == 2 * has[me] && path != at[me] && path != NONE ->
			next = path; goto open
		:: else -> goto follow
#else
		:: goto follow
#endif
		fi
	}
}

#if REMOVALS > 0
active proctype stranger() {
	do
	:: atomic { removed < REMOVALS && path != NONE -> path = NONE; removed++ }
	:: break
	od
}
#endif

inline all_at_newest() {
	newest = true;
	do
	:: i < FOLLOWERS ->
		newest = newest && at[i] == path && has[i] == GENERATION(hot[path]);
		i++
	:: else -> break
	od;
	i = 0
}

/* WAIT_IS_OVER: followWait is over for every follower, and every dead writer's heartbeat is old. */
#define WAIT_IS_OVER                             \
	late = true;                                 \
	do                                           \
	:: i < FOLLOWERS -> asleep[i] = NONE; i++    \
	:: else -> break                             \
	od;                                          \
	i = 0

/* judge looks when nothing can happen any more. */
active proctype judge() {
	byte i;
	bool newest;

	atomic {
		timeout;
		if
		:: returned && removed == 0 ->
			all_at_newest();
			PROMISE(followers_at_newest, newest)
		:: else
		fi;
		WAIT_IS_OVER
	};
	atomic {
		timeout;
		WAIT_IS_OVER
	};
	atomic {
		timeout;
		if
		:: path != NONE ->
			all_at_newest();
			PROMISE(late_by_two_waits_at_most, newest)
		:: else
		fi
	}
}
