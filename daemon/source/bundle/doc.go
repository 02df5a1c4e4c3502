// Package bundle is the source "bundle:URL": files that are packed into an archive, under
// a signed note that any web server can carry. It is also the format, for the programs
// that make bundles.
//
// # The format
//
// A bundle is two files in one place: the note, under a name that stays, and the archive,
// named by its SHA-256. The note is a signed note of golang.org/x/mod/sumdb/note. Its text
// is canonical: seven lines, whose order and spelling are fixed.
//
//	statesync bundle 1
//	origin example.com/prod
//	sequence 7
//	not-before 2026-01-02T03:04:05Z
//	expires 2026-02-01T03:04:05Z
//	sha256 0f2b…
//	size 4711
//
// The archive is a tar file that gzip compressed, of files and directories only. Its files
// follow the rules of a directory (package dir): the same names are ignored, and the same
// files have the same digest.
//
// # What is checked
//
// Nothing of a server is believed. In this order:
//
//  1. Each mirror is asked for its note, by a request with limits on size and time that
//     follows no redirect to another host. A server that says that the note is the same as
//     before is taken at its word; the steps that follow are taken nevertheless.
//  2. The signatures. Signers with as many distinct names as threshold= says must have
//     signed, by keys of the file of keys=, which is read at each look.
//  3. The text is the canonical one.
//  4. The origin is that of origin=, or else the one that was accepted first.
//  5. The sequence is not lower than the one that was accepted last: that is a stale
//     mirror, or a replay. The same sequence with another archive is a fork, ErrForked.
//  6. not-before and expires, by a clock that is not set back: see below. Of what is left,
//     the note with the highest sequence counts, and of several the one that expires last.
//  7. The size of the archive, and then its length and SHA-256, before it is unpacked. Any
//     mirror will do.
//  8. The archive is unpacked in memory, within limits.
//  9. The sequence is stored as Options.Floor. If that fails, the bundle is held back.
//
// A note that expires makes each look fail with ErrExpired, also while the servers say that
// nothing changed. What was accepted stays in use. The Version of a snapshot is
// "ORIGIN#SEQUENCE".
//
// # The clock
//
// The later of the clock and the last time seen is what counts, so that a clock that is
// set back revives no expired bundle. The last time seen is kept with the floor, and is
// trusted for a day more than the clock at most: after a jump of the clock into the future
// bundles expire at most a day early, and after that day the jump is forgotten. A clock
// that is further back than that makes notes not valid yet, unless they are older than it.
package bundle
