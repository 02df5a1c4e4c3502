// Package shm reads a region: the file in shared memory through which a daemon
// hands images to any number of processes. It decides which users are trusted to
// have written it. Package writer writes it.
//
// # What it promises
//
//   - A region that can be opened holds a whole generation at every moment,
//     whatever happens to its writer.
//   - There is one writer. It holds an exclusive lock on a file that only the
//     region's owner can open, and a region is written by its owner alone.
//   - A reader maps the file read-only. It refuses a region that an untrusted
//     user could have written (see Trust).
//   - Memory that vanishes under a reader or a writer is an error and not a
//     crash: every access to the mapping is guarded.
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
// the image that is in it. A slot has room for four times the image that the
// file was made for, and at least for 256 KiB. docs/FORMAT.md has the layout to
// the byte, package seqlock the protocol over hot word and slots, and package
// image the contents of a slot.
//
// # Its life
//
// A writer creates the file under another name, whole and with its first
// generation in it, and renames it into place, so that half a region is never
// opened. A restarted writer attaches to the file it finds and continues at the
// next generation. It replaces a file that it cannot use (another layout or
// number of slots, damage): it makes the new one whole, marks the old one retired
// and wakes its waiters, and then renames. Readers of a
// retired region keep reading it and look at the path for the next.
//
// An image that outgrows its slot is published in the same way, in a larger
// file, which keeps the region's id: its generations continue, and a config with
// the same generation of last change has the same bytes in both files.
package shm
