/*
 * The ring: is what a reader accepts always one whole generation?
 *
 * One writer publishes generations FIRST+1 to LAST into a ring of K slots. It
 * may die after every store and be followed by another one, DEATHS times, and
 * may stop for ever anywhere. READERS readers read all the time. They accept on
 * the sequences alone: the model has no sums.
 *
 * Bounds: K slots, of a length word and two image words each, so that there
 * are three words to be torn; generations FIRST to LAST, of which FIRST is in
 * the file from the beginning (package shm renames no file without one);
 * DEATHS successions; READERS readers. Which slot comes first makes no
 * difference, so that FIRST is 1.
 *
 * Not modelled, since no step of theirs is a store that a reader can see:
 * the look at the file's size, the reservation of pages, and the writer block.
 * A fault in the copy counts as a copy of anything, which the model has
 * anyway: pass() believes nothing before the second look.
 *
 * Memory. Without ARM64, stores become visible one by one in the order of the
 * program: that of StoreWords on amd64, whose processors keep stores in order.
 * With ARM64 they go through a buffer of BUFFER stores. A release store (STLR)
 * leaves it behind all stores before it; a plain one (STR) whenever it likes,
 * unless one to the same word is before it. StoreWords has release stores
 * there. What is in the buffer when a writer is killed still comes out. Loads
 * are LDAR, or MOV on amd64: in the order of the program.
 *
 * Promises, as pan names them when one is broken:
 *
 *   accepted_one_whole_generation    every word of an accepted copy was stored
 *                                    by the one writer that committed it, for
 *                                    the generation that it is accepted as
 *   current_slot_whole               at every store, and so at every death:
 *                                    the slot that the hot word names is whole
 *   successor_can_go_on              Attach finds a whole current generation
 *   never_backwards                  a reader's generations do not fall
 *   done_in_one_pass                 a pass that begins when the writer has
 *                                    stopped is accepted; a pass has no loop,
 *                                    so that this bounds its steps
 *   invalid end state                a process waits for another
 *
 * A mutation is the macro that breaks the protocol; model_test.go has the list.
 */

#ifndef K
#define K 2
#endif
#ifndef LAST
#define LAST 5
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef READERS
#define READERS 1
#endif
#define FIRST 1
#define WORDS 3 /* word 0 is the length in the slot table, 1 and 2 are the image */

/* A word has the writer that stored it and the generation: writer DEATHS is the last. */
#define TAG(g, w) ((g) * 4 + (w))
#define GENERATION(tag) ((tag) / 4)

#ifdef M_REUSE_CURRENT_SLOT
#define SLOT(g) (((g) / 2) % K) /* every other generation goes onto the current one */
#else
#define SLOT(g) ((g) % K) /* Ring.Slot */
#endif

/* The shared memory, and the places in it. */
#define HOT 0
#define SEQUENCE(n) (1 + (n))
#define WORD(n, i) (1 + K + (n) * WORDS + (i))
byte memory[1 + K + K * WORDS];

byte deaths;  /* so far; the number of the writer that lives */
bool stopped; /* for ever: no store will come */

bool accepted_one_whole_generation = true;
bool current_slot_whole = true;
bool successor_can_go_on = true;
bool never_backwards = true;
bool done_in_one_pass = true;
#define PROMISE(name, condition) name = (condition); assert(name)

/* HOLDS says that the slot of a committed tag is whole and holds it. */
#define HOLDS(t)                                                     \
	(memory[SEQUENCE(SLOT(GENERATION(t)))] == 2 * GENERATION(t) + 2  \
	&& memory[WORD(SLOT(GENERATION(t)), 0)] == (t)                   \
	&& memory[WORD(SLOT(GENERATION(t)), 1)] == (t)                   \
	&& memory[WORD(SLOT(GENERATION(t)), 2)] == (t))

#ifdef ARM64

#define BUFFER 4
byte place[BUFFER], value[BUFFER];
bool release[BUFFER];
byte stored; /* how many stores are in the buffer */
#define ALL_VISIBLE (stored == 0)

/* put is a store instruction: what it stores goes into the buffer. */
inline put(p, v, r) {
	stored < BUFFER;
	place[stored] = p;
	value[stored] = v;
	release[stored] = r;
	stored++
}

#define FREE(n, other) (place[other] != place[n])

/* become_visible takes the n-th store out of the buffer. */
inline become_visible(n) {
	memory[place[n]] = value[n];
	i = n;
	do
	:: i + 1 < stored ->
		place[i] = place[i + 1];
		value[i] = value[i + 1];
		release[i] = release[i + 1];
		i++
	:: else -> break
	od;
	stored--;
	place[stored] = 0;
	value[stored] = 0;
	release[stored] = false;
	i = 0;
	PROMISE(current_slot_whole, HOLDS(memory[HOT]))
}

active proctype buffer() {
	byte i;
end:
	do
	:: atomic { stored > 0 -> become_visible(0) }
	:: atomic { stored > 1 && !release[1] && FREE(1, 0) -> become_visible(1) }
	:: atomic { stored > 2 && !release[2] && FREE(2, 0) && FREE(2, 1) -> become_visible(2) }
	:: atomic { stored > 3 && !release[3] && FREE(3, 0) && FREE(3, 1) && FREE(3, 2) -> become_visible(3) }
	od
}

#else

#define ALL_VISIBLE true

/* put is a store instruction, visible at once. */
inline put(p, v, r) {
	memory[p] = v;
	PROMISE(current_slot_whole, HOLDS(memory[HOT]))
}

#endif

/* STORE is a store, after which the writer may die or stop. */
#define STORE(p, v, r) atomic { put(p, v, r); MORTAL }
#define MORTAL                                   \
	if                                           \
	:: true                                      \
	:: deaths < DEATHS -> deaths++; goto attach  \
	:: goto stop                                 \
	fi

#ifdef M_PLAIN_STORES
#define WORD_RELEASE false
#else
#define WORD_RELEASE true
#endif

#define BEGIN    STORE(SEQUENCE(SLOT(g)), 2 * g + 1, true)               /* Ring.Begin */
#define STORE_WORD(i) STORE(WORD(SLOT(g), i), TAG(g, deaths), WORD_RELEASE) /* seqlock.StoreWords; 0: layout.store */
#define COMPLETE STORE(SEQUENCE(SLOT(g)), 2 * g + 2, true)               /* Ring.Complete */
#define COMMIT   STORE(HOT, TAG(g, deaths), true)                        /* Ring.Commit */
#define PUNCH    STORE(WORD(SLOT(g), 2), 0, true)                        /* Writer.punchTail: a syscall, in order */

active proctype writer() {
	byte g;

attach: /* Writer.Attach of a successor; Writer.Create's first generation at the start */
	atomic {
		ALL_VISIBLE; /* the lock was given back behind the dead writer's stores */
		if
		:: memory[HOT] == 0 -> /* Create: whole before the rename, so in one step */
			memory[WORD(SLOT(FIRST), 0)] = TAG(FIRST, 0);
			memory[WORD(SLOT(FIRST), 1)] = TAG(FIRST, 0);
			memory[WORD(SLOT(FIRST), 2)] = TAG(FIRST, 0);
			memory[SEQUENCE(SLOT(FIRST))] = 2 * FIRST + 2;
			memory[HOT] = TAG(FIRST, 0)
		:: else
		fi;
		PROMISE(successor_can_go_on, HOLDS(memory[HOT])); /* Writer.usable */
#if defined(M_REPUBLISH)
		g = GENERATION(memory[HOT]) + (deaths == 0 -> 1 : 0);
#elif defined(M_JUMP)
		g = GENERATION(memory[HOT]) + K;
#elif defined(M_START_OVER)
		g = (deaths == 0 -> GENERATION(memory[HOT]) + 1 : FIRST + 1);
#else
		g = GENERATION(memory[HOT]) + 1; /* Writer.Publish refuses any other */
#endif
		MORTAL
	};
	do
	:: atomic { g > LAST -> goto stop }
	:: g <= LAST ->
#if defined(M_SKIP_ODD)
		PUNCH; STORE_WORD(1); STORE_WORD(2); STORE_WORD(0); COMPLETE; COMMIT;
#elif defined(M_PUNCH_EARLY)
		PUNCH; BEGIN; STORE_WORD(1); STORE_WORD(2); STORE_WORD(0); COMPLETE; COMMIT;
#elif defined(M_COMMIT_EARLY)
		BEGIN; PUNCH; STORE_WORD(1); COMMIT; STORE_WORD(2); STORE_WORD(0); COMPLETE;
#elif defined(M_COMMIT_BEFORE_COMPLETE)
		BEGIN; PUNCH; STORE_WORD(1); STORE_WORD(2); STORE_WORD(0); COMMIT; COMPLETE;
#else
		/* Writer.Publish, with layout.store between PUNCH and COMMIT */
		BEGIN; PUNCH; STORE_WORD(1); STORE_WORD(2); STORE_WORD(0); COMPLETE; COMMIT;
#endif
		g++
	od;
stop:
	atomic { ALL_VISIBLE -> g = 0; stopped = true }
}

/* LOAD_WORD is one load of the copy: what matters of it is whether it is the right word. */
#define LOAD_WORD(i) torn = torn || memory[WORD(SLOT(g), i)] != TAG(g, by)

#ifdef M_EVEN_ONLY
#define WHOLE (memory[SEQUENCE(SLOT(g))] % 2 == 0)
#else
#define WHOLE (memory[SEQUENCE(SLOT(g))] == 2 * g + 2) /* Ring.Whole */
#endif

/* overtaken is the end of a pass that has to begin anew. */
#define OVERTAKEN PROMISE(done_in_one_pass, !alone); goto pass

active [READERS] proctype reader() {
	byte g, by, accepted;
	bool torn, alone;
#ifdef M_PLAIN_LOADS
	bool loaded1, loaded2, looked;
#endif

pass: /* Region.guardedPass, called by Region.Read until it is whole */
	atomic { /* Ring.Hot */
		(memory[HOT] != 0); /* before, there is no file to open */
		g = GENERATION(memory[HOT]);
		by = memory[HOT] % 4;
		torn = false;
		alone = stopped
	};
#ifdef M_WAIT_FOR_WHOLE
	WHOLE;
#else
	atomic { /* Ring.Whole: the first look */
		if
		:: WHOLE
		:: else -> OVERTAKEN
		fi
	};
#endif
	LOAD_WORD(0); /* layout.length */
#if defined(M_PLAIN_LOADS)
	/* Loads that LDAR does not keep in order may be made behind the second look. */
	do
	:: atomic { !loaded1 -> LOAD_WORD(1); loaded1 = true }
	:: atomic { !loaded2 -> LOAD_WORD(2); loaded2 = true }
	:: atomic { !looked ->
		if
		:: WHOLE -> looked = true
		:: else -> loaded1 = false; loaded2 = false; OVERTAKEN
		fi }
	:: loaded1 && loaded2 && looked -> break
	od;
	atomic { loaded1 = false; loaded2 = false; looked = false };
#else
	LOAD_WORD(1); /* seqlock.LoadWords */
	LOAD_WORD(2);
#endif
	atomic {
#if !defined(M_NO_SECOND_LOOK) && !defined(M_PLAIN_LOADS)
		if /* Ring.Whole: the second look */
		:: WHOLE
		:: else -> OVERTAKEN
		fi;
#endif
		PROMISE(accepted_one_whole_generation, !torn);
		PROMISE(never_backwards, g >= accepted);
		accepted = g;
		g = 0;
		by = 0;
		torn = false;
		if
		:: alone -> goto done
		:: else -> goto pass
		fi
	};
done:
	accepted = 0
}
