// Package seqlock is the protocol by which one writer hands whole generations
// to any number of readers through words of shared memory. It takes no lock and
// makes no syscall, and readers store nothing. It knows nothing of files. This
// comment is the only place where the order of loads and stores is argued.
//
// # What it promises
//
//   - A reader accepts one whole generation: every word that it copied between
//     the two looks at the slot's sequence belongs to it.
//   - The generation that the hot word names is whole at every moment, even if
//     the writer is killed between any two of its steps.
//   - A reader that has seen generation g never accepts one before g.
//   - A reader never waits for a writer: while the writer pauses or is dead, the
//     first pass succeeds.
//
// # The memory
//
//	hot word        generation<<1 | retired        one word; its store commits
//	slot 0          sequence, words …              generation g lives in
//	…                                              slot g mod K
//	slot K-1        sequence, words …
//
// A slot's sequence is 2g+1 while generation g is being written into it and
// 2g+2 once g is whole there, so that the sequence alone says which generation
// the slot holds and whether it is whole. Sequences are 64 bits wide and only
// grow: a reader that was stopped for days finds a sequence that differs.
//
// # The steps
//
//	writer of g = hot+1                    reader
//	1. Begin(g):    sequence = 2g+1        1. g = Hot(): load the hot word
//	2. StoreWords:  the slot's words       2. Whole(g): sequence = 2g+2, else 1
//	3. Complete(g): sequence = 2g+2        3. LoadWords: copy what is needed
//	4. Commit(g):   hot word = g<<1        4. Whole(g) again, else 1
//
// # Why it holds
//
// One slot. The hot word proves that g was complete once. The second look proves
// that the writer has not taken its slot since: the odd sequence of a generation
// is visible before any of its words, and the even one only after all of them.
// So a reader that loaded a word of a later generation in step 3 sees in step 4
// at least that generation's odd sequence, which is not 2g+2, and discards its
// copy. A word of an earlier generation cannot be loaded, since every word of g
// became visible before the hot word named it. The first look only saves a copy
// that could not be accepted.
//
// The ring. Generation g+1 is written into another slot than g, as K is at
// least 2. So none of the writer's steps touches the slot that the hot word
// names: a writer that dies leaves it whole, and its successor, which continues
// at hot+1, uses the slot that was left unfinished. A reader of g can be
// overtaken only by the writer that begins g+K, which is K-1 commits later. For
// the same reason a writer must never skip generations within a ring: a jump by
// a multiple of K begins the slot that the hot word names, and a crash there
// leaves nothing whole.
//
// Order. Go has no fences, and its memory model does not cover other processes.
// The argument rests on what the compiler emits for sync/atomic, and a test
// checks that (see asm_test.go).
//
//   - The compiler moves no memory access over an atomic one.
//   - Readers load every word atomically: MOV on amd64, where loads are never
//     reordered with loads; LDAR on arm64, which no later load can pass. So
//     the second look at the sequence happens after the copy, and the first
//     before it.
//   - Begin, Complete and Commit are atomic stores: XCHG on amd64, STLR on
//     arm64.
//   - On amd64, words between the sequence stores are stored plainly: total
//     store order keeps a processor's stores in program order, and an XCHG a
//     word would cost many times as much.
//   - Elsewhere words are stored atomically too. On arm64 a plain store may
//     become visible before an STLR that precedes it in the program, which
//     would show a word of g under the sequence of g-K.
//
// Words of a slot that no accepted copy covers may have any value, and so may
// every word of memory that a process other than the writer can write. Package
// shm decides which users may write, and package image has sums against
// accidents.
package seqlock
