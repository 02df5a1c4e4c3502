// Package daemon is the pipeline from a source to a region: it reads whole
// revisions, decodes and validates them, flattens what is good into an image,
// and publishes that as the region's next generation.
//
// # What it promises
//
//   - A revision is all or nothing. One file that can't be used refuses the
//     whole revision: the region keeps the last good one, and the reason is in
//     the log, in the region's status, in Stats and in what Once returns.
//   - A revision whose content is what the region holds already is not a new
//     generation. It becomes the observed revision.
//   - Within a region file the next generation is always the current one plus 1.
//     A new file's is higher: by one if this daemon made the lost file itself,
//     else it begins above the block that the state directory reserved (1025
//     after 7). So generations rise across restarts and reboots for as long as
//     that directory lives.
//   - A daemon that was killed leaves a whole region behind, and its successor
//     continues in the same file.
//   - A region that was deleted, replaced or truncated is recreated from memory
//     within about a second, one with overwritten bytes in its image within a
//     minute.
//   - When the source can't be read or is refused at the start and there is no
//     usable region, the last good image of the state directory is
//     published. A usable region wins over it.
//   - Two daemons share neither a region nor a state directory.
//
// # The state directory
//
// It holds files of mode 0600:
//
//	lock          as the region's: one daemon uses the directory
//	generation    the highest reserved generation, as a line of text
//	last-good.v1  the last published image with a header and a sum
//
// Generations are reserved in blocks of 1,024, on stable storage before the
// first of a block is published; a publication in between costs no fsync. The
// last good image is saved after the commit, by a goroutine of its own, at most
// once a second and always before the daemon ends. A failure to save is logged,
// counted and retried, and does not delay a publication: a full disk must not
// keep configs from their readers. Until the disk has room again, generations are
// not guaranteed to rise across the loss of the region. (A disk that hangs does
// delay the one publication in 1,024 that reserves.)
//
// # Work while nothing happens
//
// One goroutine owns everything but the saving. It wakes for the source's
// hints, once a second for the heartbeat and a look at the region's file, and
// at each resync to read the source, which for an unchanged directory is a
// stat of each file.
package daemon
