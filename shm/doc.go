// Package shm is the region: the file in shared memory through which a daemon
// hands images to any number of processes, its life from creation to
// retirement, and the question who is trusted with it.
//
// # What it promises
//
//   - A region that can be opened holds a whole generation at every moment,
//     whatever happens to its writer.
//   - There is one writer. It holds an exclusive lock on a file that nobody
//     else can open, and a region is written by its owner alone.
//   - A reader maps the file read-only. It refuses a region that anybody could
//     have written whom it has no reason to trust (see Trust).
//   - Memory that vanishes under a reader, or a writer, is an error and not a
//     crash: every touch of the mapping is guarded.
//   - Nothing waits without a bound.
//
// # The region
//
// A region is a directory, by default /dev/shm/statesync/default, with
//
//	region.v1    the mapped file; its layout's version is in its name
//	lock         mode 0600: the writer's lock
//
// It is a directory because a bind mount of a file would show a container the
// old file for ever after a replacement.
//
// # The file
//
//	0x0000  identity     magic, layout version, features, slot count K, slot
//	                     size, region id, creation time, sum
//	0x0080  hot word     generation<<1 | retired, on a line of its own; its low
//	                     half is what waiters sleep on
//	0x1000  slot table   K × 128 bytes: sequence, image length
//	0x2000  status       under a sequence of its own: the writer's state, pid,
//	                     incarnation and heartbeat, when the source was last
//	                     good, and tagged fields: the observed revision, what
//	                     is wrong with the source
//	0x8000  slots        K × slot size; each holds one image
//
// The file's size is fixed for its life. It is sparse: a slot takes memory for
// the image that is in it. docs/FORMAT.md has the layout to the byte, package
// seqlock the protocol over hot word and slots, package image what is in one.
//
// # Its life
//
// A writer creates the file under another name, whole and with its first
// generation in it, and renames it into place, so that nobody ever opens half
// a region. A restarted writer attaches to the file it finds and goes on at
// the next generation. A file it can't go on with (another layout or size,
// damage) it replaces: the new one is made whole first, then the old one is
// marked retired and its waiters are woken, then the rename. Readers of a
// retired region go on reading it and look at the path for the next.
package shm
