// Package image is what a slot holds: the flat form of all configs of one
// generation, made so that a reader finds, checks and copies one config
// without looking at the others, and reads a key of it without parsing.
//
// # What it promises
//
//   - What is found is whole: an entry and a section are accepted only if their
//     sums match. What is not found is proven absent: each bucket line that the
//     search read is verified, so a flipped bit is an error and never a silent
//     default.
//   - The work of a look-up does not depend on how many configs there are, nor
//     on how large the others are. It is bounded, and that of a build is linear,
//     whatever the names and the keys are: see table. View.Entries is not a
//     look-up: it searches the sorted entries for a prefix.
//   - Every byte is hostile: bounds are checked before use, nothing panics, and
//     every search ends. A section's index is checked once, when the section is
//     copied. The sums catch accidents, not attackers; package shm decides which
//     writers to trust.
//   - Sections are immutable. What they return stays valid while it is referenced.
//
// # The bytes
//
//	header    128 B            magic, generation, length, counts, offsets, sum
//	buckets   64 B a line      7 cells {tag, entry number + 1}, sum
//	entries   64 B each        name hash, generation of last change, where the
//	                           section is, its hash, its revision, sum
//	revisions                  length, bytes, sum; one record per revision
//	sections  on 64 B          name, content, key index; one per config
//
// The sums of lines, entries and revisions are taken over their bytes followed
// by the image's generation and their own number: a part that another
// generation left behind, or that is in the wrong place, is not accepted. The
// hash of a section is not seeded, because a section is the same in every
// generation in which its config is unchanged. There is no sum over the whole:
// Load verifies all parts.
//
// A section:
//
//	lengths   32 B
//	name
//	content                    canonical JSON, or an opaque config's bytes
//	cells     4 B each         hash table of the keys {tag, key number + 1}
//	keys      24 B each        value, where key and text are, type
//	key bytes                  the dotted keys that the content does not have
//
// docs/FORMAT.md has the same to the byte. Everything is little-endian and
// aligned to 8 bytes, and is read and written as 64-bit words.
package image
