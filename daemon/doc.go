// Package daemon is the pipeline from sources to a region: it takes what they have,
// has it decoded, merged and validated, flattens what is good into an image, and
// publishes that as the region's next generation.
//
// # What it promises
//
//   - What the sources come to is all or nothing. A layer whose newest snapshot can't
//     be read or decoded goes on with the one that was used last; if there is none, or
//     if what the layers come to together can't be used, the region keeps the last good
//     generation. The reason is in the log, in the region's status, in State and in what
//     Once returns.
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
//   - When a source can't be read or is refused at the start, or has no room, and there
//     is no usable region, the newest generation of the history is published. A usable
//     region wins over it. A source that cannot be read goes on with what the history
//     has of it, if that is what is live.
//   - What operators asked for (a pin, an override, an acceptance) is stored before it
//     has an effect, and has its effect again after a restart.
//   - Two daemons share neither a region nor a state directory.
//
// # The state directory
//
// It holds files of mode 0600:
//
//	lock          as the region's: one daemon uses the directory
//	region        the path of the region that it belongs to
//	generation    the highest reserved generation, as a line of text
//	history.db    earlier generations, what operators asked for, and the audit: daemon/history
//	decoding      the inputs that are being decoded; there only while they are
//
// Generations are reserved in blocks of 1,024, on stable storage before the
// first of a block is published; a publication in between costs no fsync. What
// was published is recorded in the history after the commit, by a goroutine of its own
// (memory.go), at most once a second and always before the daemon ends. A failure to
// record is logged, counted and retried, and does not delay a publication: a full disk
// must not keep configs from their readers. Until the disk has room again, generations
// are not guaranteed to rise across the loss of the region. (A disk that hangs does
// delay the one publication in 1,024 that reserves.)
//
// # What is live
//
// There is one function from all inputs to what is to be live (Daemon.target): the pin's
// content, with the overrides that were set after it; or else what the sources come to
// with all overrides. A command (act.go) changes an input, and never the region. Content
// that comes from the sources passes the guards (guard.go) first.
//
// # One owner, one worker
//
// Each source has a goroutine that looks at it (source.Follow). One goroutine makes
// plans of what they have (worker.go). One, the owner (owner.go), has everything else:
// the region, the layers and what was decided. It waits for the others, for commands
// and for the heartbeat, never for a source, a parser or a client, and each of its turns
// ends with a State (turn.go), from which every question is answered. So the heartbeat and
// the end of the daemon do not depend on how long a file takes to decode.
//
// A plan is not stopped within a file: Go cannot do that. Between two files it is
// abandoned for newer input, but never twice in a row, so that sources that change all
// the time are published nevertheless. The verdict on a revision depends on counted
// steps and memory, which are the same on every host, and not on time. Time is an alarm
// (Options.PlanTime), and after ten times as long the watchdog is no longer fed. What
// kills the process while it decodes is found by its successor in the state directory:
// after two deaths in a row it goes on with the last good generation, and tries the same
// inputs again after pauses of 10 s to an hour.
//
// While nothing happens the owner wakes once a second for the heartbeat and a look at
// the region's file, and after each look at a source, which for an unchanged directory
// is a stat of each file.
package daemon
