/*
 * Notification: does every sleeper see the next publication, or the next attach?
 *
 * One writer publishes generations FIRST+1 to LAST and may die after every
 * step, DEATHS times, most of all between the commit and the wake; its
 * successor attaches. It may also stop for ever anywhere. Its publications do
 * not wait for the wake, which another goroutine of it makes, its waker. WAITERS followers
 * read, and sleep on the hot word. A stranger that can map the file for reading
 * wakes and requeues them, HOSTILE times.
 *
 * Bounds: K slots; generations FIRST to LAST; DEATHS successions; WAITERS
 * followers; HOSTILE futex calls of a stranger. Images have no words here:
 * ring.pml is about them.
 *
 * Time. The bounded wait of a sleeper is over when nothing else can happen any
 * more, which is the worst case; one that ends early is the same as a
 * stranger's wake. It is over once: the first rest shows what needs no bound,
 * the second one what does.
 *
 * Promises, as pan names them when one is broken:
 *
 *   publication_or_attach_seen   at rest without a stranger, after Publish or
 *                                Attach returned: every follower has the
 *                                current generation, without the bounded wait,
 *                                unless the writer died before its waker woke
 *   late_by_one_wait_at_most     after one bounded wait every follower has it,
 *                                whatever the stranger did, and also if the
 *                                writer died before the wake and no successor came
 *   never_backwards              a follower's generations do not fall
 *   invalid end state            a process waits elsewhere than on the futex
 *
 * A mutation is the macro that breaks the protocol; model_test.go has the list.
 */

#ifndef K
#define K 2
#endif
#ifndef LAST
#define LAST 4
#endif
#ifndef DEATHS
#define DEATHS 2
#endif
#ifndef WAITERS
#define WAITERS 2
#endif
#ifndef HOSTILE
#define HOSTILE 0
#endif
#define FIRST 1
#define SLOT(g) ((g) % K) /* Ring.Slot */

/* The shared memory. */
byte hot = FIRST; /* the generation in the hot word, whose half is the futex */
byte sequence[K];

/* The writer's waker. */
bool asked;  /* waker.asked: a wake that covers all commits so far is yet to begin */
bool waking; /* one has begun */

/* The kernel's queues. */
#define AWAKE 0
#define QUEUED 1    /* at the hot word */
#define ELSEWHERE 2 /* at a word of the stranger's, where the writer's wake does not reach */
byte queue[WAITERS];

/* What the judge knows. */
byte deaths, has[WAITERS]; /* the generation of each follower's snapshot */
byte meddled;              /* the stranger's calls */
bool returned = true;      /* Publish or Attach returned, and no commit came behind it */
bool lost;                 /* the writer died with a wake that was due */

bool publication_or_attach_seen = true;
bool late_by_one_wait_at_most = true;
bool never_backwards = true;
#define PROMISE(name, condition) name = (condition); assert(name)

/* A writer that dies, or stops for ever, takes its waker with it. */
#define DIE lost = lost || asked || waking; asked = false; waking = false
#define MORTAL                                        \
	if                                                \
	:: true                                           \
	:: deaths < DEATHS -> DIE; deaths++; goto attach  \
	:: DIE; goto stop                                 \
	fi

#ifdef M_WAKE_ONE
#define MORE i = WAITERS /* a FUTEX_WAKE of one */
#else
#define MORE i++
#endif

/* wake_all is what the kernel does to wake all waiters of a queue. */
inline wake_all(q) {
	do
	:: i < WAITERS && queue[i] == q -> queue[i] = AWAKE; MORE
	:: i < WAITERS && queue[i] != q -> i++
	:: i == WAITERS -> break
	od;
	i = 0
}

#define WAKE   atomic { wake_all(QUEUED); lost = false; MORTAL } /* wake(everyWaiter) */
#define ASK    atomic { asked = true; MORTAL } /* waker.wake */
#define COMMIT atomic { hot = g; returned = false; MORTAL } /* Ring.Commit */

active proctype writer() {
	byte g, i;

	atomic { sequence[SLOT(FIRST)] = 2 * FIRST + 2; g = FIRST + 1; goto publish };
attach: /* Writer.Attach */
#ifdef M_START_OVER
#define NEXT FIRST + 1
#else
#define NEXT hot + 1
#endif
	atomic { g = NEXT; MORTAL }; /* Writer.usable, Writer.adopt; seal and Beat touch nothing of this */
#ifndef M_NO_WAKE_AT_ATTACH
	WAKE;
#endif
	atomic { returned = true; MORTAL };
publish:
	do
	:: atomic { g > LAST -> goto stop }
	:: atomic { g <= LAST -> sequence[SLOT(g)] = 2 * g + 1; MORTAL }; /* Ring.Begin */
		atomic { sequence[SLOT(g)] = 2 * g + 2; MORTAL }; /* layout.store, Ring.Complete */
#if defined(M_WAKE_BEFORE_COMMIT)
		ASK; COMMIT;
#elif defined(M_NO_WAKE_AT_PUBLISH)
		COMMIT;
#else
		COMMIT; ASK; /* Writer.Publish */
#endif
		atomic { returned = true; g++; MORTAL }
	od;
stop:
	g = 0
}

#ifdef M_UNBOUNDED_WAIT
#define TIMEOUT skip
#else
/* followWait is over for every follower. */
#define TIMEOUT do :: i < WAITERS -> queue[i] = AWAKE; i++ :: else -> break od; i = 0
#endif

active [WAITERS] proctype follower() {
	byte g;
	byte me = _pid - 1;

	sequence[SLOT(FIRST)] != 0; /* before, there is no region to open */
refresh: /* Client.refreshFrom, Region.Read */
	g = hot; /* Ring.Hot */
	if
	:: atomic { sequence[SLOT(g)] == 2 * g + 2 -> /* Ring.Whole, with nothing to copy between the looks */
		PROMISE(never_backwards, g >= has[me]);
		has[me] = g;
		g = 0 }
#ifndef M_WAIT_FOR_WHOLE
	:: atomic { sequence[SLOT(g)] != 2 * g + 2 -> goto refresh }
#endif
	fi;
follow: /* Client.follow */
	if
	:: atomic { hot != has[me] -> goto refresh } /* Region.Hot */
	:: hot == has[me]
	fi;
#ifdef M_EXPECT_NEWEST
	g = hot; /* sleeps until the hot word is another than the one it looks at now */
#define EXPECTED g
#else
#define EXPECTED has[me] /* Region.Wait(s.hot): the snapshot's */
#endif
	/* FUTEX_WAIT_BITSET: the kernel compares and queues under one lock. */
#ifdef M_COMPARE_APART
	if
	:: atomic { hot != EXPECTED -> g = 0; goto follow } /* EAGAIN */
	:: hot == EXPECTED
	fi;
	queue[me] = QUEUED;
#else
	if
	:: atomic { hot != EXPECTED -> g = 0; goto follow } /* EAGAIN */
	:: atomic { hot == EXPECTED -> g = 0; queue[me] = QUEUED }
	fi;
#endif
end: /* asleep: the one place where it may be for ever */
	atomic { queue[me] == AWAKE -> goto follow }
}

/* waker is the goroutine that waker.wake starts: one wakes at a time, and one more may wait for its turn. */
active proctype waker() {
	byte i;

end:
	do
#ifdef M_CLEAR_BEHIND_WAKE
	:: atomic { asked && !waking -> waking = true }
	:: atomic { waking -> wake_all(QUEUED) }; atomic { asked = false; waking = false }
#else
	:: atomic { asked && !waking -> asked = false; waking = true }
	:: atomic { waking -> wake_all(QUEUED); waking = false }
#endif
	od
}

#if HOSTILE > 0
/* stranger needs no more than a mapping for reading. */
active proctype stranger() {
	byte i;

	do
	:: atomic { meddled < HOSTILE ->
		meddled++;
		do /* any of the waiters */
		:: i < WAITERS -> i++
		:: i < WAITERS && queue[i] == QUEUED -> queue[i] = ELSEWHERE; i++ /* FUTEX_REQUEUE */
		:: i < WAITERS && queue[i] != AWAKE -> queue[i] = AWAKE; i++     /* FUTEX_WAKE; also EINTR, or an early end of the wait */
		:: i == WAITERS -> break
		od;
		i = 0 }
	:: break
	od
}
#endif

inline all_have_newest() {
	newest = true;
	do
	:: i < WAITERS -> newest = newest && has[i] == hot; i++
	:: else -> break
	od;
	i = 0
}

/* judge looks when nothing can happen any more. */
active proctype judge() {
	byte i;
	bool newest;

	atomic {
		timeout;
		if
		:: returned && !lost && meddled == 0 ->
			all_have_newest();
			PROMISE(publication_or_attach_seen, newest)
		:: else
		fi;
		TIMEOUT
	};
	atomic {
		timeout;
		all_have_newest();
		PROMISE(late_by_one_wait_at_most, newest)
	}
}
